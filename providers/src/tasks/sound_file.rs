//! How long a sound is, from the head of its file. What the head does not tell is bounded by the file's size.

/// Silence of Opus at its longest frames, each in a block of its own, has no fewer bytes a second; for a file that tells nothing.
const LEAST_BYTES_A_SECOND: u64 = 50;
/// Where a file tells its length, no honest one has fewer bytes a second beyond it (4 kbit/s).
const LEAST_TOLD: u64 = 500;
/// The lowest rate that a frame of MP3 can have (8 kbit/s).
const LEAST_MP3: u64 = 1_000;
/// What a compressed recording usually has (64 kbit/s).
const USUAL_BYTES_A_SECOND: u64 = 8_000;
/// So much of a file is looked at for its head.
const HEAD: usize = 256 << 10;

/// No decoder makes more seconds of an honest file. Silence is compressed to next to nothing, so what a file tells comes first, and
/// one that tells nothing is held for as if it were silent.
pub(super) fn most_seconds(file: &[u8]) -> u64 {
    // Plain samples cannot lie: what their head says of rate and width is what every decoder goes by.
    let at = |least: u64| (file.len() as u64).div_ceil(least);
    let told = || flac(file).or_else(|| ogg(file)).or_else(|| mp4(file));
    plain(file)
        .or_else(|| told().map(|told| told.max(at(LEAST_TOLD))))
        .or_else(|| mp3(file).map(|_| at(LEAST_MP3)))
        .unwrap_or_else(|| at(LEAST_BYTES_A_SECOND))
}

/// The best guess; a part of a second counts as one.
pub(super) fn seconds(file: &[u8]) -> u64 {
    let told = plain(file).or_else(|| flac(file)).or_else(|| ogg(file)).or_else(|| mp4(file)).or_else(|| mp3(file));
    let guess = told.unwrap_or_else(|| (file.len() as u64).div_ceil(USUAL_BYTES_A_SECOND));
    guess.clamp(1, most_seconds(file).max(1))
}

fn little(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().rev().fold(0, |sum, b| (sum << 8) | u64::from(*b)))
}

fn big(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().fold(0, |sum, b| (sum << 8) | u64::from(*b)))
}

/// WAV with plain samples.
fn plain(file: &[u8]) -> Option<u64> {
    if file.get(..4)? != b"RIFF" || file.get(8..12)? != b"WAVE" || file.get(12..16)? != b"fmt " {
        return None;
    }
    let (kind, channels) = (little(file, 20, 2)?, little(file, 22, 2)?);
    let (rate, width) = (little(file, 24, 4)?, little(file, 34, 2)?);
    let bytes_a_second = channels.checked_mul(rate)?.checked_mul(width)? / 8;
    let is_plain = kind == 1 && (4_000..=384_000).contains(&rate) && (1..=8).contains(&channels);
    (is_plain && bytes_a_second > 0).then(|| (file.len() as u64).div_ceil(bytes_a_second))
}

fn flac(file: &[u8]) -> Option<u64> {
    if file.get(..4)? != b"fLaC" {
        return None;
    }
    let packed = big(file, 18, 8)?;
    let (rate, samples) = (packed >> 44, packed & 0xf_ffff_ffff);
    (rate > 0 && samples > 0).then(|| samples.div_ceil(rate))
}

/// The last page tells how many samples there were; Opus always counts 48,000 a second.
fn ogg(file: &[u8]) -> Option<u64> {
    if file.get(..4)? != b"OggS" {
        return None;
    }
    let head = &file[..file.len().min(4_096)];
    let vorbis = head.windows(7).position(|it| it == b"\x01vorbis");
    let rate = vorbis.map_or(Some(48_000), |at| little(file, at + 12, 4))?;
    let from = file.len().saturating_sub(HEAD);
    let last = from + file[from..].windows(4).rposition(|it| it == b"OggS")?;
    let samples = little(file, last + 6, 8)?;
    (rate > 0 && samples < u64::MAX / 2).then(|| samples.div_ceil(rate))
}

fn mp4(file: &[u8]) -> Option<u64> {
    if file.get(4..8)? != b"ftyp" {
        return None;
    }
    let ends = [&file[..file.len().min(HEAD)], &file[file.len().saturating_sub(HEAD)..]];
    ends.into_iter().find_map(|part| {
        let at = part.windows(4).position(|it| it == b"mvhd")? + 4;
        let (scale, length) = match part.get(at)? {
            0 => (big(part, at + 12, 4)?, big(part, at + 16, 4)?),
            _ => (big(part, at + 20, 4)?, big(part, at + 24, 8)?),
        };
        (scale > 0).then(|| length.div_ceil(scale))
    })
}

/// The first frame's rate, taken for all of them.
fn mp3(file: &[u8]) -> Option<u64> {
    const KBIT: [[u64; 14]; 2] = [
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let mut at = 0;
    if file.get(..3)? == b"ID3" {
        let size = file.get(6..10)?.iter().fold(0_usize, |sum, b| (sum << 7) | usize::from(*b & 0x7f));
        at = 10 + size;
    }
    let head = big(file, at, 4)?;
    let (sync, version, layer) = (head >> 21, (head >> 19) & 3, (head >> 17) & 3);
    let rate = usize::try_from((head >> 12) & 15).ok()?;
    if sync != 0x7ff || version == 1 || layer != 1 || !(1..=14).contains(&rate) {
        return None;
    }
    let kbit = KBIT[usize::from(version != 3)][rate - 1];
    Some(((file.len() - at) as u64).div_ceil(kbit * 125))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(rate: u32, bytes: usize) -> Vec<u8> {
        let mut file = b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(rate.to_le_bytes());
        file.extend((rate * 2).to_le_bytes());
        file.extend([2, 0, 16, 0]);
        file.extend(b"data....");
        file.resize(44 + bytes, 0);
        file
    }

    #[test]
    fn the_head_of_a_file_tells_its_length_and_its_size_bounds_it() {
        let mut flac = b"fLaC\0\0\0\x22".to_vec();
        flac.resize(18, 0);
        flac.extend(((16_000_u64 << 44) | 160_001).to_be_bytes());
        flac.resize(9_000, 7);
        let mut ogg = b"OggS\0\x02".to_vec();
        ogg.resize(20_000, 1);
        ogg.extend(b"OggS\0\x04");
        ogg.extend((48_000_u64 * 7).to_le_bytes());
        let mut mp4 = b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\0mvhd\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        mp4.extend(1_000_u32.to_be_bytes());
        mp4.extend(5_500_u32.to_be_bytes());
        mp4.resize(60_000, 0);
        let mut mp3 = vec![0xff, 0xfb, 0x90, 0];
        mp3.resize(128 * 125 * 3, 0);
        for (file, expected, what) in [
            (wav(16_000, 32_000 * 3), 4, "three seconds and a head"),
            (flac, 11, "160,001 samples"),
            (ogg, 7, "seven seconds"),
            (mp4, 6, "five and a half"),
            (mp3, 3, "128 kbit/s"),
            (vec![0; 80_000], 10, "nothing known"),
            (vec![0; 3], 1, "hardly anything"),
        ] {
            assert_eq!(seconds(&file), expected, "{what}");
            assert!(most_seconds(&file) >= expected, "{what}");
        }
        assert_eq!(most_seconds(&wav(16_000, 32_000 * 3)), 4);
        assert_eq!(most_seconds(&[0; 50_000]), 1_000, "it may be silent");
        let mut silent = b"fLaC\0\0\0\x22".to_vec();
        silent.resize(18, 0);
        silent.extend(((16_000_u64 << 44) | (16_000 * 7_200)).to_be_bytes());
        silent.resize(9_000, 0);
        assert_eq!((most_seconds(&silent), seconds(&silent)), (7_200, 7_200), "two silent hours in nine kilobytes");
        let lying = {
            let mut file = wav(16_000, 100_000);
            file[24..28].fill(0xff);
            file
        };
        assert_eq!(most_seconds(&lying), 2_001, "a rate that no decoder takes");
        for cut in 0..60 {
            let _ = seconds(&wav(8_000, 100)[..cut]);
        }
    }
}
