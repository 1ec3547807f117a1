//! The framing of Amazon's event streams: a length, the length of the headers, a checksum of these two; headers; a payload; a
//! checksum of it all. Nothing is read of a frame before its checksum fits, and no frame is waited for that is too large.
//!
//! Written here and not taken from a library: it is this one file, it looks at the prelude's checksum before it waits for what the
//! prelude promises, and it tells how far an event reaches.

use crate::error::{Class, ProviderError};

/// The largest frame of the published format: 16 MiB of payload, 128 KiB of headers, and what frames them.
const LARGEST_FRAME: usize = (16 << 20) + (128 << 10) + FRAMING;
/// Two lengths and their checksum.
const PRELUDE: usize = 12;
/// The prelude, and the checksum at the end.
const FRAMING: usize = PRELUDE + 4;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// `event`, `exception` or `error`.
    pub kind: String,
    /// Which: `contentBlockDelta`, `throttlingException`…
    pub name: String,
    /// JSON.
    pub payload: Vec<u8>,
}

/// Cuts bytes into frames.
#[derive(Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Takes the next bytes. What came before a broken frame is given all the same.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<Frame>) -> Result<(), ProviderError> {
        self.buffer.extend_from_slice(bytes);
        let mut start = 0;
        let read = loop {
            match next(&self.buffer[start..]) {
                Ok(Some((length, frame))) => {
                    start += length;
                    out.push(frame);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.buffer.drain(..start);
        read
    }

    /// How many of these bytes bring the frame that is being read to its end, if it ends here.
    pub(crate) fn to_end(&self, rest: &[u8]) -> usize {
        let have = self.buffer.len();
        let mut first = self.buffer.iter().chain(rest);
        let mut length = [0; 4];
        for byte in &mut length {
            let Some(next) = first.next() else { return rest.len() };
            *byte = *next;
        }
        let length = u32::from_be_bytes(length) as usize;
        length.saturating_sub(have).clamp(1, rest.len().max(1))
    }
}

/// The frame that begins here, with its length, if it is there whole.
fn next(bytes: &[u8]) -> Result<Option<(usize, Frame)>, ProviderError> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    if checksum(&prelude[..8]) != number(&prelude[8..]) {
        return Err(broken());
    }
    let (length, headers) = (number(prelude) as usize, number(&prelude[4..]) as usize);
    if length > LARGEST_FRAME {
        return Err(ProviderError::new(Class::TooLarge, "an event of the provider's stream is too large"));
    }
    if length < FRAMING || headers > length - FRAMING {
        return Err(broken());
    }
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let (checked, sum) = whole.split_at(length - 4);
    if checksum(checked) != number(sum) {
        return Err(broken());
    }
    let (headers, payload) = checked[PRELUDE..].split_at(headers);
    let (kind, name) = read_headers(headers).ok_or_else(broken)?;
    Ok(Some((length, Frame { kind, name, payload: payload.to_vec() })))
}

/// Kind and name of a message. Other headers are passed over by their length.
fn read_headers(mut bytes: &[u8]) -> Option<(String, String)> {
    let (mut kind, mut name) = (String::new(), String::new());
    while !bytes.is_empty() {
        let length = take(&mut bytes, 1)?[0];
        let header = take(&mut bytes, length.into())?;
        let value = match take(&mut bytes, 1)?[0] {
            0 | 1 => &[],
            2 => take(&mut bytes, 1)?,
            3 => take(&mut bytes, 2)?,
            4 => take(&mut bytes, 4)?,
            5 | 8 => take(&mut bytes, 8)?,
            9 => take(&mut bytes, 16)?,
            6 | 7 => {
                let length = take(&mut bytes, 2)?;
                take(&mut bytes, u16::from_be_bytes([length[0], length[1]]).into())?
            }
            _ => return None,
        };
        let into = match header {
            b":message-type" => &mut kind,
            b":event-type" | b":exception-type" | b":error-code" => &mut name,
            _ => continue,
        };
        *into = std::str::from_utf8(value).ok()?.to_owned();
    }
    Some((kind, name))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn broken() -> ProviderError {
    ProviderError::broken("an event of the provider's stream is damaged")
}

/// CRC-32 as in IEEE 802.3.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| (sum >> 8) ^ TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut sum = i as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[i] = sum;
        i += 1;
    }
    table
};

/// Writes a frame; for tests.
#[cfg(test)]
pub(crate) fn write(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let mut out = u32::try_from(FRAMING + head.len() + payload.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Vec<Frame>, Option<Class>) {
        let mut frames = Vec::new();
        let error = Frames::default().feed(bytes, &mut frames).err();
        (frames, error.map(|it| it.class))
    }

    fn event(payload: &str) -> Vec<u8> {
        write(&[(":event-type", "metadata"), (":message-type", "event")], payload.as_bytes())
    }

    #[test]
    fn the_checksum_is_the_one_that_everybody_means() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_frame_of_the_published_examples_is_read() {
        // The empty message and the one that holds JSON and a header of each simple type, written out by the format's rules.
        let (frames, error) = read(&[0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff]);
        assert_eq!((frames[0].payload.len(), error), (0, None));
        let mut head = vec![4];
        head.extend_from_slice(b"flag\x00\x03num\x04\x00\x00\x00\x07\x02id\x09");
        head.extend_from_slice(&[1; 16]);
        head.extend_from_slice(b"\x0d:message-type\x07\x00\x05event");
        assert_eq!(read_headers(&head), Some(("event".to_owned(), String::new())));
        for cut in 1..head.len() {
            let _ = read_headers(&head[..cut]);
        }
        assert_eq!(read_headers(b"\x01a\x0a"), None, "a type that does not exist");
    }

    #[test]
    fn a_damaged_frame_is_refused_wherever_the_damage_is() {
        let whole = event("{\"usage\":{}}");
        for at in 0..whole.len() {
            let mut damaged = [event("{}"), whole.clone()].concat();
            let first = event("{}").len();
            damaged[first + at] ^= 0x10;
            let (frames, error) = read(&damaged);
            assert_eq!((frames.len(), error), (1, Some(Class::Broken)), "byte {at}");
        }
    }

    #[test]
    fn a_frame_that_promises_too_much_is_not_waited_for() {
        let mut prelude = u32::MAX.to_be_bytes().to_vec();
        prelude.extend_from_slice(&0u32.to_be_bytes());
        prelude.extend_from_slice(&checksum(&prelude).to_be_bytes());
        assert_eq!(read(&prelude).1, Some(Class::TooLarge));
        let mut short = 15u32.to_be_bytes().to_vec();
        short.extend_from_slice(&0u32.to_be_bytes());
        short.extend_from_slice(&checksum(&short).to_be_bytes());
        assert_eq!(read(&short).1, Some(Class::Broken));
    }

    #[test]
    fn the_end_of_an_event_is_known_from_its_first_bytes() {
        let (a, b) = (event("{}"), event("{\"x\":1}"));
        let both = [a.clone(), b].concat();
        let mut frames = Frames::default();
        assert_eq!(frames.to_end(&both), a.len());
        assert_eq!(frames.to_end(&both[..3]), 3);
        frames.feed(&both[..2], &mut Vec::new()).unwrap();
        assert_eq!(frames.to_end(&both[2..]), a.len() - 2);
        frames.feed(&both[2..a.len()], &mut Vec::new()).unwrap();
        assert_eq!(frames.to_end(&both[a.len()..]), both.len() - a.len());
    }
}
