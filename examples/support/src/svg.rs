//! What all SVG images here have in common.

/// A grey that has a contrast of 4 against white and against black: an image cannot know the background of its page.
pub const TEXT: &str = "#7a7f87";

/// The beginning of an image, with its title; `</svg>` ends it.
pub fn head(width: f64, height: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{TEXT}\" role=\"img\">\n\
         <title>{title}</title>\n<text x=\"8\" y=\"24\" font-size=\"15\" font-weight=\"600\">{title}</text>\n"
    )
}

/// No text may end an element, and some characters must not be in XML at all.
pub fn escaped(text: &str) -> String {
    let text = text.replace(
        |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'),
        "\u{fffd}",
    );
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
