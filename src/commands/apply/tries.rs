//! The states of an apply that is tried several times, and the transitions between them.

use super::{attempt::Stop, reconnect::WAITS};
use crate::commands::CommandError;

/// Damaged layers of the cache that are rebuilt in one apply. More of them are a disk that fails.
const MAX_DAMAGED: u32 = 20;

/// Which try of an apply this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// The first one.
    First,
    /// One after the link broke.
    Reconnected {
        /// Whether it had less to send than the one before.
        progressed: bool,
    },
    /// One for which a damaged layer of the cache is rebuilt.
    CacheRebuilt {
        /// Whether it had less to send than the one before.
        progressed: bool,
    },
}

impl Try {
    /// Why it resumes what another one began; nothing for the first.
    pub(super) fn why(self) -> Option<&'static str> {
        match self {
            Self::First => None,
            Self::Reconnected { .. } => Some("reconnected"),
            Self::CacheRebuilt { .. } => Some("rebuilding a corrupt layer of the cache"),
        }
    }

    /// The same try, once it is known whether it progressed.
    pub(super) fn progressed(self, progressed: bool) -> Self {
        match self {
            Self::First => Self::First,
            Self::Reconnected { .. } => Self::Reconnected { progressed },
            Self::CacheRebuilt { .. } => Self::CacheRebuilt { progressed },
        }
    }

    fn has_progressed(self) -> bool {
        match self {
            Self::First => false,
            Self::Reconnected { progressed } | Self::CacheRebuilt { progressed } => progressed,
        }
    }
}

/// The tries of an apply so far.
pub(super) struct Tries {
    /// The one that runs or comes next.
    pub(super) current: Try,
    /// Seconds to wait before each further attempt to connect.
    pub(super) waits: std::slice::Iter<'static, u64>,
    damaged: u32,
}

/// What has to happen before the next try.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing.
    Again,
    /// A new connection; the error is for when there is none in time.
    Reconnect(CommandError),
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            current: Try::First,
            waits: WAITS.iter(),
            damaged: 0,
        }
    }
}

impl Tries {
    /// Goes over to the next try.
    ///
    /// # Errors
    /// There is none: what stopped this one, trying again does not help.
    pub(super) fn after(&mut self, stop: Stop) -> Result<Next, CommandError> {
        let has_progressed = self.current.has_progressed();
        match stop {
            Stop::Error(error) => Err(*error),
            Stop::DamagedCache(error) => {
                self.damaged += 1;
                if self.damaged > MAX_DAMAGED {
                    return Err(*error);
                }
                // Whether the link ever gets further is not told by a damaged layer.
                self.current = Try::CacheRebuilt {
                    progressed: has_progressed,
                };
                Ok(Next::Again)
            }
            Stop::LinkLost(error) => {
                // A link that brings something each time is worth as much patience again.
                if has_progressed {
                    self.waits = WAITS.iter();
                }
                self.current = Try::Reconnected { progressed: false };
                Ok(Next::Reconnect(*error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ErrorCode;

    #[expect(clippy::unnecessary_box_returns, reason = "as a stop has it")]
    fn error(text: &str) -> Box<CommandError> {
        Box::new(CommandError::message(ErrorCode::ConnectionLost, text, None))
    }

    #[test]
    fn a_broken_link_is_waited_for_and_longer_where_something_arrived() {
        let mut tries = Tries::default();
        let lost = || Stop::LinkLost(error("lost"));
        assert!(matches!(tries.after(lost()), Ok(Next::Reconnect(_))));
        assert_eq!(tries.current, Try::Reconnected { progressed: false });
        tries.waits.nth(2);
        let left = tries.waits.len();
        assert!(matches!(tries.after(lost()), Ok(Next::Reconnect(_))));
        assert_eq!(tries.waits.len(), left, "nothing arrived");
        tries.current = tries.current.progressed(true);
        assert!(matches!(tries.after(lost()), Ok(Next::Reconnect(_))));
        assert_eq!(tries.waits.len(), WAITS.len());
        assert_eq!(tries.current, Try::Reconnected { progressed: false });
    }

    #[test]
    fn damaged_layers_are_rebuilt_up_to_a_limit() {
        let mut tries = Tries::default();
        for _ in 0..MAX_DAMAGED {
            let next = tries.after(Stop::DamagedCache(error("damaged")));
            assert!(matches!(next, Ok(Next::Again)));
            assert!(matches!(tries.current, Try::CacheRebuilt { .. }));
        }
        assert!(tries.after(Stop::DamagedCache(error("damaged"))).is_err());
    }

    #[test]
    fn the_first_try_resumes_nothing_and_an_error_ends_all() {
        let mut tries = Tries::default();
        assert_eq!(tries.current.why(), None);
        assert_eq!(tries.current.progressed(true), Try::First);
        assert!(tries.after(Stop::Error(error("blocked"))).is_err());
    }
}
