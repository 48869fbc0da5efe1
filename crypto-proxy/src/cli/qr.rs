//! A line of text as a picture that a camera reads.

use anyhow::Context as _;
use qrcode::{
    EcLevel, QrCode,
    render::{svg, unicode::Dense1x2},
};

/// Pixels of a module's side in a file.
const MODULE: u32 = 8;

/// For a terminal with light letters on dark ground, two rows of modules in a line.
pub(super) fn terminal(text: &str) -> anyhow::Result<String> {
    let picture = encoded(text)?
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Ok(picture)
}

/// Black on white, with the margin that readers want.
pub(super) fn svg(text: &str) -> anyhow::Result<String> {
    let code = encoded(text)?;
    Ok(code
        .render::<svg::Color<'_>>()
        .module_dimensions(MODULE, MODULE)
        .build())
}

/// In capitals, which take five bits and a half in place of eight.
fn encoded(text: &str) -> anyhow::Result<QrCode> {
    QrCode::with_error_correction_level(text.to_ascii_uppercase(), EcLevel::M)
        .context("too long for a picture")
}
