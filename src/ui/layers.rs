//! Maps sent bytes of an image to its layers and their uncompressed size.

use std::collections::BTreeSet;

use crate::{image::LayerSpan, render::bytes};

/// Returns the layer that is being sent after `sent` bytes.
pub(super) fn current(layers: &[LayerSpan], sent: u64) -> Option<&LayerSpan> {
    let mut after = layers.iter().filter(|span| span.bytes.end > sent);
    after.next().or(layers.last())
}

/// The bytes of a layer that were sent.
pub(super) fn bytes_of(span: &LayerSpan, sent: u64) -> u64 {
    sent.clamp(span.bytes.start, span.bytes.end) - span.bytes.start
}

/// Formats `layer 3 of 4`.
pub(super) fn name(span: &LayerSpan) -> String {
    format!("layer {} of {}", span.number, span.of)
}

/// The uncompressed size of the bytes that were sent; `None` if a layer's is unknown.
pub(super) fn unpacked(layers: &[LayerSpan], sent: u64) -> Option<u64> {
    if layers.is_empty() {
        return None;
    }
    let unpacked = layers.iter().map(|span| {
        let (done, all) = (bytes_of(span, sent), span.bytes.end - span.bytes.start);
        let unpacked = u128::from(span.unpacked?) * u128::from(done) / u128::from(all.max(1));
        u64::try_from(unpacked).ok()
    });
    unpacked.sum()
}

/// Formats the position, `, layer 3 of 4 (12.0 MiB of 88.8 MiB)`; empty if this is not an image.
pub(super) fn place(layers: &[LayerSpan], sent: u64) -> String {
    current(layers, sent).map_or(String::new(), |span| {
        let (done, all) = (bytes_of(span, sent), span.bytes.end - span.bytes.start);
        format!(", {} ({} of {})", name(span), bytes(done), bytes(all))
    })
}

/// Formats what was sent in all, and why not more:
/// `, 1 of 4 layers, 10.5 MiB unpacked; the others were present`.
pub(super) fn summary(layers: &[LayerSpan]) -> String {
    let Some(last) = layers.last() else {
        return String::new();
    };
    let plural = if last.of == 1 { "" } else { "s" };
    // A layer that occurs twice in the image may be in two parts.
    let sent = layers
        .iter()
        .map(|span| span.number)
        .collect::<BTreeSet<_>>();
    let mut said = format!(", {} of {} layer{plural}", sent.len(), last.of);
    if let Some(unpacked) = unpacked(layers, u64::MAX) {
        said = format!("{said}, {} unpacked", bytes(unpacked));
    }
    if sent.len() < last.of {
        said.push_str("; the others were present");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<LayerSpan> {
        let span = |number, bytes, unpacked| LayerSpan {
            number,
            of: 4,
            bytes,
            unpacked,
        };
        vec![
            span(2, 1024..1024 + (1 << 20), Some(3 << 20)),
            span(4, (2 << 20)..(2 << 20) + 512, Some(2048)),
        ]
    }

    #[test]
    fn the_current_layer_and_its_progress_are_shown() {
        let layers = layers();
        for (sent, expected) in [
            (0, ", layer 2 of 4 (0 B of 1.00 MiB)"),
            (1024 + (1 << 19), ", layer 2 of 4 (512 KiB of 1.00 MiB)"),
            (1024 + (1 << 20), ", layer 4 of 4 (0 B of 512 B)"),
            (3 << 20, ", layer 4 of 4 (512 B of 512 B)"),
        ] {
            assert_eq!(place(&layers, sent), expected);
        }
        assert_eq!(place(&[], 7), "");
    }

    #[test]
    fn the_uncompressed_size_is_computed() {
        let mut layers = layers();
        assert_eq!(unpacked(&layers, 0), Some(0));
        assert_eq!(unpacked(&layers, 1024 + (1 << 19)), Some(3 << 19));
        assert_eq!(unpacked(&layers, u64::MAX), Some((3 << 20) + 2048));
        assert_eq!(
            summary(&layers),
            ", 2 of 4 layers, 3.00 MiB unpacked; the others were present"
        );
        layers[1].unpacked = None;
        assert_eq!(unpacked(&layers, u64::MAX), None);
        assert_eq!(summary(&layers), ", 2 of 4 layers; the others were present");
        assert_eq!(unpacked(&[], 7), None);
        assert_eq!(summary(&[]), "");
    }
}
