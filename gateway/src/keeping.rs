//! What a stream said so far, for whoever may be told it again. Copied into one place: as frames came, each holds on to the whole
//! read buffer that it arrived in, for as long as the stream lasts.

use bytes::Bytes;

/// Frames of a stream, kept up to a size.
pub struct Kept {
    all: Vec<u8>,
    ends: Vec<usize>,
    most: usize,
    /// More came than is kept: nothing is.
    over: bool,
}

impl Kept {
    /// Nothing yet, and never more than `most` bytes.
    pub fn up_to(most: usize) -> Kept {
        Kept { all: Vec::new(), ends: Vec::new(), most, over: false }
    }

    /// One more.
    pub fn push(&mut self, frame: &[u8]) {
        if self.over || self.all.len() + frame.len() > self.most {
            *self = Kept { over: true, ..Kept::up_to(self.most) };
            return;
        }
        self.all.extend_from_slice(frame);
        self.ends.push(self.all.len());
    }

    /// All of them, unless there were more than are kept.
    pub fn into_frames(self) -> Option<Vec<Bytes>> {
        let all = Bytes::from(self.all.into_boxed_slice());
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let frames = begins.zip(&self.ends).map(|(begin, end)| all.slice(begin..*end));
        (!self.over).then(|| frames.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_or_not_at_all() {
        for (frames, most, kept) in [
            (&["data: 1\n\n", "", "data: 2\n\n"][..], 100, true),
            (&["12345", "67890"], 10, true),
            (&["12345", "678901", ""], 10, false),
            (&["12345678901", "1"], 10, false),
            (&[], 0, true),
        ] {
            let mut it = Kept::up_to(most);
            frames.iter().for_each(|frame| it.push(frame.as_bytes()));
            let expected = kept.then(|| frames.iter().map(|frame| Bytes::from_static(frame.as_bytes())).collect());
            assert_eq!(it.into_frames(), expected, "{frames:?}");
        }
    }
}
