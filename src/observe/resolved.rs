//! Asks docker-compose on a VPU to resolve a project's files before they are deployed.
//!
//! `docker-compose -f - config` would look for `.env`, environment files and extended services in
//! the directory of the running project; so the files are placed in memory while docker-compose
//! reads them.

use std::time::Duration;

use camino::Utf8Path;

use super::{AllResolved, Answer, Question, QuestionFile, Remembered, Resolved};
use crate::{
    compose::ComposeFile,
    digest::Digest,
    host::{Host, HostError, Output, Stdin},
    redact::redact_words,
    remote,
    shell::Argv,
};

const SCRIPT: &str = include_str!("resolved.sh");

/// The script's `$0`, by which an in-memory VPU recognises it.
pub const RESOLVED_NAME: &str = "o3r-resolved";

/// The script's exit code if docker-compose could not be run.
const NOT_ASKED: i32 = 78;

/// How long docker-compose may take to read a project: it needs about 0.3 s on a PC and 2 s on a
/// VPU.
const LIMIT: Duration = Duration::from_secs(60);

/// The most lines of docker-compose's messages that are shown.
const MOST_LINES: usize = 12;

/// The shortest value of an environment file that counts as a secret in docker-compose's messages.
const SHORTEST_SECRET: usize = 4;

/// Asks docker-compose about projects, except those whose answers are in `remembered`.
///
/// # Errors
/// The connection is lost.
pub async fn resolve_all<H: Host>(
    host: &H,
    questions: &[Question],
    remembered: &Remembered,
) -> Result<AllResolved, HostError> {
    let mut all = AllResolved::new();
    for question in questions {
        let resolved = if let Some(known) = remembered.find(question) {
            known
        } else {
            tracing::debug!(
                project = question.project,
                "querying docker-compose on the VPU"
            );
            let resolved = resolve(host, question).await?;
            remembered.keep(question, &resolved);
            resolved
        };
        all.insert(question.project.clone(), resolved);
    }
    Ok(all)
}

/// Asks docker-compose about one project. Waits for at most a minute.
///
/// # Errors
/// The connection is lost.
pub async fn resolve<H: Host>(host: &H, question: &Question) -> Result<Resolved, HostError> {
    let resolved = |answer| Resolved {
        asked: question.asked,
        answer,
        warnings: vec![],
    };
    let texts = match texts(&question.files) {
        Ok(texts) => texts,
        Err(reason) => return Ok(resolved(Answer::Unknown(reason))),
    };
    let archive = match archive(&texts) {
        Ok(archive) => archive,
        Err(error) => return Ok(resolved(Answer::Unknown(error.to_string()))),
    };
    let directory = remote::project_directory(&question.project);
    let command = Argv::script(SCRIPT, RESOLVED_NAME, [directory.as_str()]);
    let run = host.run(&command, Stdin::Bytes(archive));
    let Ok(output) = tokio::time::timeout(LIMIT, run).await else {
        let reason = format!("it did not answer within {} s", LIMIT.as_secs());
        return Ok(resolved(Answer::Unknown(reason)));
    };
    Ok(read(question, &texts, &output?))
}

/// Reads the files' contents; the error is why they cannot be sent.
fn texts(files: &[QuestionFile]) -> Result<Vec<(&str, Vec<u8>)>, String> {
    let text = |file: &QuestionFile| {
        if let Some(rendered) = &file.rendered {
            return Ok(rendered.bytes().to_vec());
        }
        let bytes = fs_err::read(&file.local).map_err(|error| error.to_string())?;
        if Digest::of(&bytes) != file.sha256 {
            return Err(format!("{} changed while it was read", file.local));
        }
        Ok(bytes)
    };
    files
        .iter()
        .map(|file| Ok((file.relative.as_str(), text(file)?)))
        .collect()
}

fn archive(texts: &[(&str, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in texts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, bytes.as_slice())?;
    }
    archive.into_inner()
}

/// Interprets the script's output.
fn read(question: &Question, texts: &[(&str, Vec<u8>)], output: &Output) -> Resolved {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let (_, stdout) = stdout.split_once("o3r-resolved ").unwrap_or_default();
    let (root, config) = stdout.split_once('\n').unwrap_or_default();
    let secrets = secrets(texts);
    let plain = |text: &str| {
        let text = if root.is_empty() {
            text.to_owned()
        } else {
            text.replace(root, "")
        };
        let hide = |text: String, secret: &String| text.replace(secret.as_str(), "***");
        secrets.iter().fold(text, hide)
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = match stderr.split_once("\no3r-resolved\n") {
        Some((_, said)) => plain(said),
        None => plain(&stderr),
    };
    let said: Vec<String> = said.lines().map(redact_words).collect();
    let said = said.join("\n");
    let warnings = warnings(&said, output.code != 0);
    let answer = if output.code == 0 {
        let config = config.replace(root, "");
        match ComposeFile::parse_config(&config, &question.apart) {
            Ok(file) => Answer::Project(Box::new(file)),
            Err(error) => Answer::Unknown(format!("its output cannot be parsed: {error}")),
        }
    } else if output.code == NOT_ASKED || output.code == 127 || root.is_empty() {
        Answer::Unknown(last(&said))
    } else if let Some(path) = awaits(question, &said) {
        Answer::Unknown(format!("it needs {path}, which this apply creates"))
    } else {
        let words = refusal(&said);
        // If every line was filtered out, shows the last one.
        let words = if words.is_empty() { last(&said) } else { words };
        let place = place(&words, texts);
        Answer::Refused { words, place }
    };
    Resolved {
        asked: question.asked,
        answer,
        warnings,
    }
}

/// Whether a file is a compose file by its name; all others set variables.
fn is_yaml(name: &str) -> bool {
    let extension = Utf8Path::new(name).extension().unwrap_or_default();
    ["yml", "yaml"].contains(&extension)
}

/// Returns the values that environment files set, the longest first: they are never shown.
fn secrets(texts: &[(&str, Vec<u8>)]) -> Vec<String> {
    let files = texts.iter().filter(|(name, _)| !is_yaml(name));
    let values = files.flat_map(|(_, bytes)| {
        let text = String::from_utf8_lossy(bytes);
        let values = crate::compose::parse_env(&text).into_values();
        values
            .filter(|value| value.len() >= SHORTEST_SECRET)
            .collect::<Vec<_>>()
    });
    let mut values: Vec<String> = values.collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    values
}

/// Returns the messages besides an answer, without duplicates: without a terminal, docker-compose
/// marks neither warnings nor errors. Omits Python's own warnings about docker-compose's code.
fn warnings(said: &str, is_refused: bool) -> Vec<String> {
    let lines = said.lines().map(|line| unmarked(line.trim()));
    let lines = lines.filter(|line| !line.is_empty() && !is_of_python(line));
    let mut warnings: Vec<String> = vec![];
    for line in lines.filter(|line| !is_refused || is_warning(line)) {
        if !warnings.iter().any(|known| known == line) {
            warnings.push(line.to_owned());
        }
    }
    warnings.truncate(MOST_LINES);
    warnings
}

/// Removes the mark that a line has on a terminal.
fn unmarked(line: &str) -> &str {
    let marks = ["WARNING: ", "ERROR: "];
    let mut bare = marks.iter().filter_map(|mark| line.strip_prefix(mark));
    bare.next().unwrap_or(line)
}

/// Whether a line next to an error is one of docker-compose 1.x's warnings.
fn is_warning(line: &str) -> bool {
    ["variable is not set. Defaulting", "which will be ignored"]
        .iter()
        .any(|words| line.contains(words))
}

/// `/usr/lib/python3/…/x.py:12: CryptographyDeprecationWarning: …`, and the line of code below it.
fn is_of_python(line: &str) -> bool {
    line.contains(".py:") || line.contains("import ") || line.starts_with("warnings.warn")
}

/// Returns the error without warnings and without the traceback of a crash.
fn refusal(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| unmarked(line.trim_end()))
        .filter(|line| !line.is_empty() && !is_warning(line) && !is_of_python(line))
        .collect();
    // The last line of a Python traceback is the error.
    if lines.iter().any(|line| line.starts_with("Traceback ")) {
        return lines.last().copied().unwrap_or_default().to_owned();
    }
    let lines = lines.into_iter().take(MOST_LINES);
    lines.collect::<Vec<_>>().join("\n")
}

fn last(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next_back().unwrap_or("no output").to_owned()
}

/// Returns the missing path, if the apply will create it.
fn awaits<'a>(question: &'a Question, said: &str) -> Option<&'a String> {
    let mut awaited = question.awaited.iter();
    awaited.find(|path| said.contains(path.as_str()))
}

/// Returns the place of a rejected key. docker-compose names keys (`services.web.ports`) and
/// services, and lines only for files that are not YAML.
fn place(words: &str, texts: &[(&str, Vec<u8>)]) -> Option<String> {
    if let Some(found) = yaml_place(words) {
        return Some(found);
    }
    let words: Vec<&str> = words
        .split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)))
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty())
        .collect();
    let files = texts.iter().filter(|(name, _)| is_yaml(name));
    let found = files.filter_map(|(name, bytes)| {
        let text = String::from_utf8_lossy(bytes);
        let (depth, line) = crate::compose::line_of_words(&text, &words)?;
        Some((depth, format!("{name}:{line}")))
    });
    // The first of the places that match most of the words.
    found
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, place)| place)
}

/// Parses `in "./docker-compose.yml", line 4, column 3`.
fn yaml_place(words: &str) -> Option<String> {
    let (_, rest) = words.rsplit_once("in \"")?;
    let (path, rest) = rest.split_once("\", line ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    (!digits.is_empty()).then(|| format!("{name}:{digits}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const COMPOSE: &str = "version: '2.4'\nservices:\n  web:\n    image: app\n    ports: wrong\n";

    fn question() -> Question {
        Question {
            project: "app".into(),
            asked: Digest::of(b"all"),
            is_complete: true,
            files: vec![],
            awaited: ["/home/oem/app.env".to_owned()].into(),
            apart: BTreeSet::new(),
        }
    }

    fn said(code: i32, stdout: &str, stderr: &str) -> Resolved {
        let texts = [
            ("docker-compose.yml", COMPOSE.as_bytes().to_vec()),
            (".env", b"PASSWORD=s3cret\nN=1\n".to_vec()),
        ];
        let output = Output {
            code,
            stdout: format!("Hello\nhalf\no3r-resolved /dev/shm/o3r-config-x\n{stdout}")
                .into_bytes(),
            stderr: format!("a greeting\no3r-resolved\n{stderr}").into_bytes(),
        };
        read(&question(), &texts, &output)
    }

    #[test]
    fn an_answer_refers_to_the_real_directory() {
        let config = "services:\n  web:\n    environment: {A: b}\n    image: app:1\n    volumes:\n    - \
                      /dev/shm/o3r-config-x/usr/share/oem/docker/compose/app/data:/data:rw\nversion: '2.4'\n";
        let stderr = "The ROBOT variable is not set. Defaulting to a blank string.\n\
                      /usr/lib/python3/x.py:1: SomeWarning: old\n  import x\n";
        let resolved = said(0, config, stderr);
        let Answer::Project(file) = &resolved.answer else {
            panic!("{resolved:?}");
        };
        assert_eq!(
            file.services[0].mounts[0].source,
            crate::compose::MountSource::Bind("/usr/share/oem/docker/compose/app/data".into())
        );
        assert_eq!(
            resolved.warnings,
            ["The ROBOT variable is not set. Defaulting to a blank string."]
        );
    }

    #[test]
    fn a_rejection_has_the_message_the_line_and_no_secret() {
        let stderr = "The X variable is not set. Defaulting to a blank string.\n\
                      The Compose file '/dev/shm/o3r-config-x/usr/share/oem/docker/compose/app/docker-compose.yml' is \
                      invalid because:\nservices.web.ports contains s3cret, it should be a list\n";
        let resolved = said(1, "", stderr);
        let words = "The Compose file '/usr/share/oem/docker/compose/app/docker-compose.yml' is invalid because:\n\
                     services.web.ports contains ***, it should be a list";
        let place = Some("docker-compose.yml:5".to_owned());
        let refused = Answer::Refused {
            words: words.into(),
            place,
        };
        assert_eq!(resolved.answer, refused);
        assert_eq!(resolved.warnings.len(), 1);
        let broken = said(
            1,
            "",
            "yaml error\n  in \"./docker-compose.yml\", line 7, column 3\n",
        );
        let Answer::Refused { place, .. } = broken.answer else {
            panic!("{broken:?}");
        };
        assert_eq!(place.as_deref(), Some("docker-compose.yml:7"));
        let trace = said(
            1,
            "",
            "Traceback (most recent call last):\n  File \"x.py\"\nTypeError: no\n",
        );
        let Answer::Refused { words, .. } = trace.answer else {
            panic!("{trace:?}");
        };
        assert_eq!(words, "TypeError: no");
        let url = said(1, "", "cannot read http://me:hush@host/x\n");
        assert!(!format!("{url:?}").contains("hush"), "{url:?}");
        let odd = said(1, "", "cannot import name from x.py: no\n");
        let Answer::Refused { words, .. } = odd.answer else {
            panic!("{odd:?}");
        };
        assert_eq!(words, "cannot import name from x.py: no");
    }

    #[test]
    fn a_file_that_the_apply_creates_is_no_rejection() {
        let resolved = said(1, "", "Couldn't find env file: /home/oem/app.env\n");
        assert!(matches!(resolved.answer, Answer::Unknown(_)));
        let other = said(1, "", "Couldn't find env file: /home/oem/other.env\n");
        assert!(matches!(other.answer, Answer::Refused { .. }));
        let missing = said(NOT_ASKED, "", "sh: tar: not found\n");
        let reason = "sh: tar: not found".to_owned();
        assert_eq!(missing.answer, Answer::Unknown(reason));
    }

    #[test]
    fn the_environment_of_services_with_awaited_files_is_ignored() {
        let digest = |value: &str, apart: &[&str]| {
            let config = format!(
                "services:\n  web:\n    environment: {{A: {value}}}\n    image: app\nversion: '2.4'\n"
            );
            let mut question = question();
            question.apart = apart.iter().map(|name| (*name).to_owned()).collect();
            let file = ComposeFile::parse_config(&config, &question.apart).unwrap();
            file.services[0].definition
        };
        assert_ne!(digest("1", &[]), digest("2", &[]));
        assert_eq!(digest("1", &["web"]), digest("2", &["web"]));
    }
}
