//! The framings themselves: server-sent events, Amazon's event streams, forms.

use bytes::Bytes;

use super::mutate::{self, Dice};
use super::{Target, golden};
use crate::bedrock::frames::{self, Frame, Frames};
use crate::error::Class;
use crate::request::{ModelRequest, Outside, Shape};
use crate::sse::{SseEvent, SseReader};

/// The same bytes in pieces: one, one byte each, or by the dice.
pub(super) fn pieces(input: &[u8], way: usize) -> Vec<&[u8]> {
    match way {
        _ if input.is_empty() => Vec::new(),
        0 => vec![input],
        1 => input.chunks(1).collect(),
        _ => {
            let (mut dice, mut rest, mut out) = (Dice::new(mutate::hash(input)), input, Vec::new());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((1 + dice.below(40)).min(rest.len()));
                out.push(piece);
                rest = more;
            }
            out
        }
    }
}

#[test]
fn server_sent_events_are_the_same_under_every_split_and_no_larger_than_what_came() {
    let read = |input: &[u8], way: usize, limit: usize| -> (Vec<SseEvent>, Option<Class>) {
        let (mut reader, mut out) = (SseReader::new(limit), Vec::new());
        let error = pieces(input, way).into_iter().try_for_each(|piece| reader.feed(piece, &mut out)).err();
        if error.is_none() {
            reader.finish(&mut out);
        }
        (out, error.map(|it| it.class))
    };
    let check = |input: &[u8], case: usize| {
        let limit = if case < 3 { 16 << 20 } else { 200 };
        let (events, error) = read(input, 0, limit);
        if case < 3 {
            assert_eq!(read(input, case, limit), (events.clone(), error));
            assert_eq!(error, None);
        }
        // What is not UTF-8 becomes a sign of three bytes.
        let bytes: usize = events.iter().map(|it| it.data.len() + it.event.len()).sum();
        assert!(bytes <= 3 * input.len(), "{bytes} of {}", input.len());
        assert!(events.iter().all(|it| it.data.len() <= 3 * limit));
        for event in events {
            let (again, _) = read(event.frame().as_bytes(), 0, 16 << 20);
            let plain = !event.data.contains('\r');
            assert!(!plain || again == [event], "a frame says what its event said");
        }
    };
    let seeds = golden(&[".sse"]);
    Target { name: "sse", seeds, cases: 4, mutate: &mutate::bytes, check: &check }.run();
}

fn read_frames(input: &[u8], way: usize) -> (Vec<Frame>, Option<Class>) {
    let (mut reader, mut out) = (Frames::default(), Vec::new());
    let error = pieces(input, way).into_iter().try_for_each(|piece| {
        let to_end = reader.to_end(piece);
        assert!((1..=piece.len()).contains(&to_end), "there is always something to read on");
        reader.feed(piece, &mut out)
    });
    (out, error.err().map(|it| it.class))
}

/// Frames whose checksums fit all the same; every so often bytes, whose do not.
pub(super) fn spoiled_frames(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let (mut all, _) = read_frames(dice.pick::<Vec<u8>>(seeds), 0);
    if all.is_empty() {
        return mutate::stream(dice, seeds);
    }
    if dice.one_in(8) {
        return mutate::bytes(dice, seeds);
    }
    let (others, _) = read_frames(dice.pick::<Vec<u8>>(seeds), 0);
    mutate::list(dice, &mut all, &others, |dice, frame| match dice.below(8) {
        0 => frame.kind = (*dice.pick(&["event", "exception", "error", "", "initial-response"])).to_owned(),
        1 => {
            frame.name =
                (*dice.pick(&["throttlingException", "messageStop", "metadata", "", "contentBlockDelta"])).to_owned()
        }
        2 => frame.payload = mutate::bytes(dice, std::slice::from_ref(&frame.payload)),
        _ => {
            let other = others.first().map_or_else(Vec::new, |it| it.payload.clone());
            frame.payload = mutate::json(dice, &[frame.payload.clone(), other]);
        }
    });
    let written = all.iter().flat_map(|it| {
        let name = if it.kind == "exception" { ":exception-type" } else { ":event-type" };
        frames::write(&[(":message-type", &it.kind), (name, &it.name)], &it.payload)
    });
    written.collect()
}

#[test]
fn frames_are_the_same_under_every_split_and_no_larger_than_what_came() {
    let check = |input: &[u8], case: usize| {
        let all = read_frames(input, 0);
        assert_eq!(read_frames(input, case), all);
        let bytes: usize = all.0.iter().map(|it| it.payload.len() + it.kind.len() + it.name.len()).sum();
        assert!(bytes <= input.len());
    };
    let seeds = golden(&["bedrock*.bin"]);
    let mutate = |dice: &mut Dice, seeds: &[Vec<u8>]| match dice.one_in(2) {
        true => mutate::bytes(dice, seeds),
        false => spoiled_frames(dice, seeds),
    };
    Target { name: "frames", seeds, cases: 3, mutate: &mutate, check: &check }.run();
}

const FORMS: [&str; 3] = [
    "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; \
     filename=\"a \\\"b\\\".mp3\"\r\nContent-Type: audio/mpeg\r\n\r\nbytes\0\r\n--c\r\n--b\r\n\
     Content-Disposition: form-data; name=\"temperature\"\r\n\r\n0.20\r\n--b--\r\n",
    "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\
     a \"cat\"\n\r\n--b\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\
     \u{89}PNG\r\n--b\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\nTrue\r\n--b\r\n\
     Content-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n--b--",
    "--b\r\ncontent-disposition: form-data; name=timestamp_granularities[]\r\n\r\nword\r\n--b\r\n\
     Content-Disposition: form-data; name=\"timestamp_granularities[]\"\r\n\r\nsegment\r\n--b\r\n\
     Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\n\
     Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''a.wav\r\n\r\nRIFF....WAVE\r\n--b--\r\n",
];

#[test]
fn a_form_is_read_to_json_and_files_within_its_bytes_or_refused() {
    let shapes = [Shape::Transcriptions, Shape::Translations, Shape::ImageEdits];
    let check = |input: &[u8], case: usize| {
        let kind = Some("multipart/form-data; boundary=b".to_owned());
        let body = Bytes::copy_from_slice(input);
        let outside = Outside { content_type: kind, ..Outside::default() };
        let Ok(request) = ModelRequest::parse_with(shapes[case], body.clone(), outside) else { return };
        assert!(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(request.body()).is_ok());
        let within = body.as_ptr_range();
        let files = request.files();
        assert!(files.iter().all(|it| it.bytes.is_empty() || within.contains(&it.bytes.as_ptr())), "no copies");
        let bytes: usize = files.iter().map(|it| it.bytes.len()).sum();
        assert!(bytes + request.body().len() <= 6 * input.len(), "no more than it was, however it is quoted");
        let edits: Vec<_> = (0..request.texts().len()).map(|index| (index, "[X]".to_owned())).collect();
        assert_eq!(request.with_texts(&edits).texts().len(), edits.len());
        let _ = (request.identity(), request.features());
    };
    let seeds = FORMS.iter().map(|it| it.as_bytes().to_vec()).collect();
    Target { name: "multipart", seeds, cases: 3, mutate: &mutate::bytes, check: &check }.run();
}
