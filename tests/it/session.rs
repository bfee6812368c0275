//! The pictures of a session in README.md.

use std::fs;

use quick_xml::{Reader, events::Event};

/// Width in pixels of README's column on GitHub.
const COLUMN: f64 = 838.0;

/// Returns a picture's width, and its texts in order.
fn read(path: &str) -> (f64, String) {
    let svg = fs::read_to_string(path).unwrap();
    let mut reader = Reader::from_str(&svg);
    let (mut width, mut text, mut depth) = (0.0, String::new(), 0);
    loop {
        match reader
            .read_event()
            .unwrap_or_else(|error| panic!("{path}: {error}"))
        {
            Event::Start(element) => {
                depth += 1;
                if element.name().as_ref() == "svg" {
                    let attribute = element.try_get_attribute("width").unwrap().unwrap();
                    width = attribute.value.parse().unwrap();
                }
            }
            Event::End(element) => {
                depth -= 1;
                if element.name().as_ref() == "text" {
                    text.push('\n');
                }
            }
            Event::Text(words) => text.push_str(words.trim_matches('\n')),
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{path} is cut off");
    (width, text)
}

#[test]
fn pictures_are_complete_fit_the_page_and_show_its_commands() {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut texts = vec![];
    for theme in ["light", "dark"] {
        let path = format!("docs/session-{theme}.svg");
        assert!(readme.contains(&path), "README.md does not show {path}");
        let (width, text) = read(&path);
        assert!(width > 0.0 && width <= COLUMN, "{path} is {width} wide");
        for command in ["plan", "apply --yes", "plan --exit-code"] {
            let command = format!("o3r-deploy {command}");
            assert!(readme.contains(&format!("`{command}`")), "{command}");
            let line = format!("$ {command}\n");
            assert!(text.contains(&line), "{path} lacks {line}");
        }
        assert!(text.contains("the VPU matches deploy.toml"), "{path}");
        texts.push(text);
    }
    assert_eq!(texts[0], texts[1], "both show the same session");
}

#[test]
fn a_page_is_short() {
    let lines = fs::read_to_string("README.md").unwrap().lines().count();
    assert!(lines <= 200, "README.md has {lines} lines");
}
