//! What a one-shot task asks for, as far as it is billed by that, and the files that came with it.

use super::read::{Read, View, invalid, missing};
use super::{Attachment, Shape};

/// What a one-shot task asks for, as far as it is billed by that.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Asked {
    /// Prompts, inputs or documents.
    pub inputs: u64,
    /// Tokens that were given as numbers.
    pub tokens: u64,
    /// Characters to be spoken.
    pub characters: u64,
    /// Bytes of the question that every document is held against.
    pub query_bytes: u64,
    /// Half-made images to be shown on the way.
    pub partial_images: u64,
    /// `low`, `standard`, `1024x1024`…
    pub quality: Option<String>,
    pub size: Option<String>,
    /// What of the usual speed is spoken at, in hundredths.
    pub speed: Option<u64>,
    /// Of the answer: `mp3`, `srt`, `b64_json`…
    pub format: Option<String>,
    /// Speech is asked for as events.
    pub as_events: bool,
}

/// The sides of `1024x1536`.
pub(crate) fn sides(size: &str) -> Option<(u64, u64)> {
    let (width, height) = size.split_once('x')?;
    let side = |text: &str| text.parse::<u64>().ok().filter(|it| (1..=65_536).contains(it) && !text.starts_with('+'));
    Some((side(width)?, side(height)?))
}

/// The files that came with a form: those that the task reads, and no others.
pub(super) fn files(shape: Shape, files: &[Attachment], view: &mut View) -> Read<()> {
    let known = |field: &str| match shape {
        Shape::ImageEdits => ["image", "image[]", "mask"].contains(&field),
        _ => field == "file",
    };
    if let Some(odd) = files.iter().find(|it| !known(&it.field)) {
        return Err(invalid(&odd.field, "is not a file that this takes"));
    }
    let named = |name: &str| files.iter().filter(|it| it.field == name).count();
    match shape {
        Shape::ImageEdits if named("image") + named("image[]") == 0 => return Err(missing("image")),
        Shape::ImageEdits if named("image") > 1 || named("mask") > 1 => {
            return Err(invalid("image", "is given more than once"));
        }
        Shape::ImageEdits => {}
        _ if named("file") == 0 => return Err(missing("file")),
        _ if named("file") > 1 => return Err(invalid("file", "is given more than once")),
        _ => {}
    }
    if let Some(empty) = files.iter().find(|it| it.bytes.is_empty()) {
        return Err(invalid(&empty.field, "is empty"));
    }
    view.features.image_count += files.iter().filter(|it| it.is_image()).count() as u64;
    Ok(())
}
