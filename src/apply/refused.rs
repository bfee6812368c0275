//! Shortens what docker-compose says of containers that do not start: it says it of the container, whose name begins with
//! an ID until it has replaced the earlier one, and again of the service.

use std::collections::BTreeSet;

use super::said::{is_progress, without_colours};

/// How docker-compose 1.25 and 1.29 begin an error of one container or service; two blanks follow the name.
const ERROR: &str = "ERROR: for ";

/// What docker-compose says after the last error.
const END: &str = "Encountered errors while bringing up the project.";

/// The digits of an ID in a temporary name: `73ed41f6a1c2_app_web_1`.
const ID: usize = 12;

/// Returns the output with each error once, under the container's real name, and without progress. Output without such
/// an error is unchanged.
pub(super) fn each_once(output: &str) -> String {
    if !output.contains(ERROR) {
        return output.to_owned();
    }
    let plain = without_colours(output).replace('\r', "\n");
    let mut known = BTreeSet::new();
    let mut kept: Vec<String> = vec![];
    let mut lines = plain.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() || is_progress(line) {
            continue;
        }
        let Some((name, said)) = error(line) else {
            kept.push(line.to_owned());
            continue;
        };
        // Docker's message may have several lines.
        let mut said = vec![said.to_owned()];
        let is_more = |next: &&str| !next.is_empty() && *next != END && error(next).is_none();
        while let Some(more) = lines.next_if(is_more) {
            said.push(more.to_owned());
        }
        if known.insert(said.clone()) {
            kept.push(format!("{ERROR}{}  {}", real_name(name), said.join("\n")));
        }
    }
    kept.join("\n")
}

fn error(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix(ERROR)?.split_once("  ")
}

/// Returns a container's name without the ID that docker-compose puts before it.
fn real_name(name: &str) -> &str {
    match name.split_at_checked(ID) {
        Some((id, rest)) if id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            rest.strip_prefix('_').unwrap_or(name)
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_docker_is_quoted_once_under_the_real_name() {
        let said = "Recreating 73ed41f6a1c2_app_web_1 ... \r\nRecreating 73ed41f6a1c2_app_web_1 ... error\r\n\n\
            ERROR: for 73ed41f6a1c2_app_web_1  Cannot start service web: error gathering device information\n\n\
            ERROR: for app_db_1  Cannot start service db: driver failed:\nport is already allocated\n\n\
            ERROR: for web  Cannot start service web: error gathering device information\n\n\
            ERROR: for db  Cannot start service db: driver failed:\nport is already allocated\n\
            Encountered errors while bringing up the project.";
        assert_eq!(
            each_once(said),
            "ERROR: for app_web_1  Cannot start service web: error gathering device information\n\
             ERROR: for app_db_1  Cannot start service db: driver failed:\nport is already allocated\n\
             Encountered errors while bringing up the project."
        );
    }

    #[test]
    fn other_output_is_unchanged() {
        for said in [
            "",
            "Recreating app_web_1 ... done\n\nno such image",
            "a\r\nb",
        ] {
            assert_eq!(each_once(said), said);
        }
        assert_eq!(real_name("73ed41f6a1c2"), "73ed41f6a1c2");
        assert_eq!(real_name("ünlängst_abc_web_1"), "ünlängst_abc_web_1");
    }
}
