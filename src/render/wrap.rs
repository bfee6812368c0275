//! Wraps lines at the width of the terminal.

use textwrap::{Options, WordSeparator, WordSplitter};

use super::text::Style;

/// Adds a line. If the terminal is too narrow, wraps it and indents the further lines by `hang`
/// columns.
///
/// Does not wrap further lines of `text`: they are commands to copy or output of another program.
pub(super) fn line(out: &mut String, style: Style, hang: usize, text: &str) {
    let (first, rest) = match text.split_once('\n') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    };
    match style.width {
        Some(width) => out.push_str(&wrapped(first, width, hang)),
        None => out.push_str(first),
    }
    if let Some(rest) = rest {
        out.push('\n');
        out.push_str(rest);
    }
    out.push('\n');
}

/// Wraps a line at `width` columns; does not break longer words.
pub fn wrapped(text: &str, width: usize, hang: usize) -> String {
    let indent = " ".repeat(hang);
    let options = Options::new(width)
        .subsequent_indent(&indent)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::wrap(text, options).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: Option<usize>, text: &str) -> String {
        let style = Style {
            width,
            ..Style::default()
        };
        let mut out = String::new();
        line(&mut out, style, 4, text);
        out
    }

    #[test]
    fn a_wrapped_line_is_indented() {
        let text = "  + create  directory.~/share";
        assert_eq!(shown(None, text), format!("{text}\n"));
        assert_eq!(shown(Some(80), text), format!("{text}\n"));
        assert_eq!(shown(Some(16), text), "  + create\n    directory.~/share\n");
    }

    #[test]
    fn a_line_to_copy_is_not_wrapped() {
        let text = "too long for this:\n    docker info --format json";
        assert_eq!(
            shown(Some(12), text),
            "too long for\n    this:\n    docker info --format json\n"
        );
    }

    #[test]
    fn colours_take_no_columns() {
        let text = "\u{1b}[32m+\u{1b}[0m create";
        assert_eq!(wrapped(text, 8, 2), text);
    }
}
