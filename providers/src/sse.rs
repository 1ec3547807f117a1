//! Server-sent events, read as the WHATWG standard says, under any split of the bytes, with a bound on one event.

use crate::error::{Class, ProviderError};

/// The largest single event that is taken (an image in base64 fits).
pub const LARGEST_EVENT: usize = 16 << 20;

/// One event that had data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// The `event:` field, empty if there was none.
    pub event: String,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
}

impl SseEvent {
    /// The event on the wire again.
    pub fn frame(&self) -> String {
        let mut frame = String::with_capacity(self.data.len() + self.event.len() + 24);
        if !self.event.is_empty() {
            frame.push_str("event: ");
            frame.push_str(&self.event);
            frame.push('\n');
        }
        for line in self.data.split('\n') {
            frame.push_str("data: ");
            frame.push_str(line);
            frame.push('\n');
        }
        frame.push('\n');
        frame
    }
}

/// Reads events from bytes.
#[derive(Debug)]
pub struct SseReader {
    line: Vec<u8>,
    event: String,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    first_line: bool,
    limit: usize,
}

impl Default for SseReader {
    fn default() -> SseReader {
        SseReader::new(LARGEST_EVENT)
    }
}

impl SseReader {
    /// A reader that takes events of at most `limit` bytes.
    pub fn new(limit: usize) -> SseReader {
        SseReader {
            line: Vec::new(),
            event: String::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            first_line: true,
            limit,
        }
    }

    /// Takes the next bytes, gives the events that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<SseEvent>) -> Result<(), ProviderError> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + part.len() > self.limit {
                return Err(ProviderError::new(Class::TooLarge, "an event of the provider's stream is too large"));
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(out);
        }
        Ok(())
    }

    /// The stream has ended. Servers that leave out the last blank line are forgiven.
    pub fn finish(&mut self, out: &mut Vec<SseEvent>) {
        if !self.line.is_empty() {
            self.end_line(out);
        }
        self.dispatch(out);
    }

    fn end_line(&mut self, out: &mut Vec<SseEvent>) {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.first_line) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            self.dispatch(out);
        } else {
            let colon = line.iter().position(|b| *b == b':');
            let (name, value) = match colon {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (&line[..], &[][..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match name {
                b"data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                b"event" => self.event = String::from_utf8_lossy(value).into_owned(),
                _ => {} // comments, id, retry, unknown fields
            }
        }
        line.clear();
        self.line = line; // keep the buffer
    }

    fn dispatch(&mut self, out: &mut Vec<SseEvent>) {
        let event = std::mem::take(&mut self.event);
        if !std::mem::take(&mut self.has_data) {
            return;
        }
        let data = String::from_utf8(std::mem::take(&mut self.data))
            .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
        out.push(SseEvent { event, data });
    }
}

/// How many of these bytes bring a stream to the end of its next event, if one ends here.
pub(crate) fn event_end(rest: &[u8]) -> usize {
    // The line before may have come with the piece before: then this ends an event already.
    if matches!(rest.first(), Some(b'\n' | b'\r')) {
        return 1;
    }
    let end = rest.windows(2).position(|it| matches!(it, b"\n\n" | b"\n\r" | b"\r\r"));
    end.map_or(rest.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let (mut reader, mut out) = (SseReader::default(), Vec::new());
        pieces.iter().for_each(|piece| reader.feed(piece, &mut out).unwrap());
        reader.finish(&mut out);
        out
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let got: Vec<_> = read(&[text.as_bytes()]).into_iter().map(|it| (it.event, it.data)).collect();
        let expected: Vec<_> = expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        check("data: a\n\ndata:b\r\n\r\ndata:  c\r\r", &[("", "a"), ("", "b"), ("", " c")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check(": comment\n\ndata: a\ndata: b\ndata\n\n", &[("", "a\nb\n")]);
        check("event: x\nid: 7\nretry: 1\ndata: a\n\ndata: b\n\n", &[("x", "a"), ("", "b")]);
        check("event: x\n\ndata: a\n\n", &[("", "a")]);
        check("data: last", &[("", "last")]);
        check("data\n\n", &[("", "")]);
        check("\n\n\n", &[]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = SseReader::new(16);
        let mut out = Vec::new();
        assert!(reader.feed(b"data: 0123", &mut out).is_ok());
        assert_eq!(reader.feed(b"4567890", &mut out).unwrap_err().class, Class::TooLarge);
        let mut reader = SseReader::new(16);
        assert!((0..9).any(|_| reader.feed(b"data: 0123\n", &mut out).is_err()));
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_events(text in "(data: [aé€😀:]{0,4}|event: x|: c|)(\n|\r\n|\r){0,3}(data:[ b]{0,3}\r?\n?){0,4}", cuts in prop::collection::vec(0usize..64, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|it| it.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut at = 0;
            for cut in cuts { pieces.push(&bytes[at..cut]); at = cut; }
            pieces.push(&bytes[at..]);
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
