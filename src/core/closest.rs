//! Finds the word that a mistyped one was meant to be.

/// Returns the most similar known word, if any is similar enough: `serial` for `serail`.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// The minimal normalised Damerau-Levenshtein similarity:
    /// `serail` is `serial`, `name` is not `mode`.
    const LIKE: f64 = 0.6;
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(word, candidate),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_suggested() {
        assert_eq!(did_you_mean("serail", ["host", "serial"]), Some("serial"));
        assert_eq!(did_you_mean("image", ["images", "usb"]), Some("images"));
        assert_eq!(did_you_mean("colour", ["host", "serial"]), None);
    }
}
