//! The section on images whose files were compared with their sources.

use std::{collections::BTreeMap, fmt::Write as _};

use o3r_core::facts::{Damage, Verified};

use crate::render::{
    sign::Sign,
    text::{BOLD, Style, below, paint},
    wrap::line,
};

/// The most damaged files that are shown of an image.
const SHOWN: usize = 5;

pub(super) fn write(out: &mut String, verified: &BTreeMap<String, Verified>, style: Style) {
    for (name, found) in verified {
        let name = paint(style.color, BOLD, name);
        let Verified {
            files,
            omitted,
            damaged,
        } = found;
        let mut text = if damaged.is_empty() {
            let sign = style.sign(Sign::Good);
            format!("  {sign} {name}  {files} files are as in its source")
        } else {
            let sign = style.sign(Sign::Bad);
            let count = damaged.len();
            let are = if count == 1 { "is" } else { "are" };
            format!(
                "  {sign} {name}  {count} of {files} files {are} damaged; repair: o3r-deploy apply --verify"
            )
        };
        if *omitted > 0 {
            let _ = write!(text, " ({omitted} with unusual names were not compared)");
        }
        line(out, style, 4, &text);
        for file in damaged.iter().take(SHOWN) {
            let what = match file.found {
                Damage::Missing => "missing",
                Damage::Empty => "empty",
                Damage::Differs => "differs",
            };
            let text = format!("/{}: {what} (layer {})", file.path, file.layer.short());
            line(out, style, 4, &below(&text));
        }
        if let Some(more) = damaged.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            line(
                out,
                style,
                4,
                &below(&format!("and {more} more: --format json")),
            );
        }
    }
}
