//! The section on what starts when the VPU boots.

use crate::{
    render::{Style, sign::Sign, wrap::line},
    status::{Autostart, StartedBy},
};

/// `some_start`: whether any project starts when the VPU boots, by any mechanism.
pub(super) fn write(out: &mut String, autostart: &Autostart, some_start: bool, style: Style) {
    match autostart.by {
        Some(StartedBy::Units) => {
            let names: Vec<&str> = autostart.enabled.iter().map(String::as_str).collect();
            let names = match (names.is_empty(), some_start) {
                (false, _) => format!("enabled: {}", names.join(", ")),
                (true, false) => "none enabled".to_owned(),
                (true, true) => {
                    "none enabled; docker starts containers by their restart policy".to_owned()
                }
            };
            line(out, style, 4, &format!("  units oem-dc@NAME, {names}"));
        }
        Some(StartedBy::RestartPolicies { enabled: true }) => {
            let what = "  by restart policies, oem-dc-autostart is enabled";
            line(out, style, 4, what);
        }
        Some(StartedBy::RestartPolicies { enabled: false }) => {
            let what = "  oem-dc-autostart is disabled: docker does not start at boot";
            line(out, style, 4, what);
        }
        None => out.push_str("  this firmware has none\n"),
    }
    if autostart.lingering == Some(false) {
        let sign = style.sign(Sign::Bad);
        let what = format!("  {sign} lingering is off: units start only when someone logs in");
        line(out, style, 4, &what);
    }
}
