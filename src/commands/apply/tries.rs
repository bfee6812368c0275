//! The states of an apply that is attempted several times, and the transitions between them.

use super::{attempt::Stop, reconnect::WAITS};
use crate::commands::CommandError;

/// The maximum number of corrupt layers in the cache that
/// one apply rebuilds. More of them mean a failing disk.
const MAX_DAMAGED: u32 = 20;

/// The reason for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// The first attempt.
    First,
    /// An attempt after a lost connection.
    Reconnected {
        /// Whether it had less to send than the one before.
        progressed: bool,
    },
    /// An attempt that rebuilds a corrupt layer of the cache.
    CacheRebuilt {
        /// Whether it had less to send than the one before.
        progressed: bool,
    },
}

impl Try {
    /// Returns why it resumes an earlier attempt; `None` for the first.
    pub(super) fn why(self) -> Option<&'static str> {
        match self {
            Self::First => None,
            Self::Reconnected { .. } => Some("reconnected"),
            Self::CacheRebuilt { .. } => Some("rebuilding a corrupt layer of the cache"),
        }
    }

    /// Returns the same attempt with its progress.
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

/// The attempts of an apply so far.
pub(super) struct Tries {
    /// The current or next attempt.
    pub(super) current: Try,
    /// Seconds to wait before each further attempt to connect.
    pub(super) waits: std::slice::Iter<'static, u64>,
    damaged: u32,
}

/// What has to happen before the next attempt.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing.
    Again,
    /// Reconnecting; the error is reported if that does not succeed in time.
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
    /// Advances to the next attempt.
    ///
    /// # Errors
    /// Another attempt cannot resolve what stopped this one.
    pub(super) fn after(&mut self, stop: Stop) -> Result<Next, CommandError> {
        let has_progressed = self.current.has_progressed();
        match stop {
            Stop::Error(error) => Err(*error),
            Stop::DamagedCache(error) => {
                self.damaged += 1;
                if self.damaged > MAX_DAMAGED {
                    return Err(*error);
                }
                // A corrupt layer says nothing about whether the link makes progress.
                self.current = Try::CacheRebuilt {
                    progressed: has_progressed,
                };
                Ok(Next::Again)
            }
            Stop::LinkLost(error) => {
                // A link that makes progress with each attempt gets the whole waiting time again.
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
    fn a_broken_link_is_waited_for_and_longer_if_something_arrived() {
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
    fn corrupt_layers_are_rebuilt_up_to_a_limit() {
        let mut tries = Tries::default();
        for _ in 0..MAX_DAMAGED {
            let next = tries.after(Stop::DamagedCache(error("damaged")));
            assert!(matches!(next, Ok(Next::Again)));
            assert!(matches!(tries.current, Try::CacheRebuilt { .. }));
        }
        assert!(tries.after(Stop::DamagedCache(error("damaged"))).is_err());
    }

    #[test]
    fn the_first_attempt_resumes_nothing_and_an_error_ends_all_attempts() {
        let mut tries = Tries::default();
        assert_eq!(tries.current.why(), None);
        assert_eq!(tries.current.progressed(true), Try::First);
        assert!(tries.after(Stop::Error(error("blocked"))).is_err());
    }
}
