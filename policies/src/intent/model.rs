//! The weights of policies/intent/weights.txt and the hints of lexicon.txt, read once into tables that a hash finds.

use std::sync::LazyLock;

use super::Intent;

/// What the words decide, in the order of the weights.
pub(super) const INTENTS: [Intent; 9] = [
    Intent::Code,
    Intent::Extraction,
    Intent::Summarise,
    Intent::Translate,
    Intent::Classify,
    Intent::Reasoning,
    Intent::Chat,
    Intent::Writing,
    Intent::ToolUse,
];
/// Nine intents, then four tiers.
pub(super) const OUTPUTS: usize = INTENTS.len() + 4;
/// More features than this are not expected of a weights file.
pub(super) const MOST_FEATURES: usize = 8_192;
const EMPTY: u16 = u16::MAX;

/// Where a feature was seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Space {
    /// The last text.
    Word,
    /// A system text.
    System,
    /// A text before the last.
    Prior,
    /// The shape of it all.
    Shape,
}

impl Space {
    const WORDS: [Space; 3] = [Space::Word, Space::System, Space::Prior];

    /// Keeps the same word apart in different places.
    pub(super) fn key(self, hash: u64) -> u64 {
        hash ^ match self {
            Space::Word => 0,
            Space::System => 0x9e37_79b9_7f4a_7c15,
            Space::Prior => 0xc2b2_ae3d_27d4_eb4f,
            Space::Shape => 0x1656_67b1_9e37_79f9,
        }
    }
}

pub(super) const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, continued: of words, so nobody gains by making two of them collide.
pub(super) fn hash(from: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(from, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Keys to small numbers: open addressing, never more than half full.
struct Table {
    slots: Vec<(u64, u16)>,
    shift: u32,
}

impl Table {
    fn new(entries: usize) -> Table {
        let size = (entries * 2).next_power_of_two().max(16);
        Table { slots: vec![(0, EMPTY); size], shift: 64 - size.trailing_zeros() }
    }

    fn place(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn insert(&mut self, key: u64, value: u16) {
        let mut at = self.place(key);
        while self.slots[at].1 != EMPTY {
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = (key, value);
    }

    fn find(&self, key: u64) -> Option<u16> {
        let mut at = self.place(key);
        loop {
            match self.slots[at] {
                (_, EMPTY) => return None,
                (found, value) if found == key => return Some(value),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }
}

pub(super) struct Model {
    names: Vec<&'static str>,
    weights: Vec<[i8; OUTPUTS]>,
    pub(super) bias: [i32; OUTPUTS],
    /// Of intents and of tiers, in units of the scores.
    pub(super) temperatures: [f32; 2],
    features: Table,
    hinting: Table,
    /// What a hinting word hints at: places in `hints`.
    hinted: Vec<Vec<u8>>,
    /// For each hint and place of words the features "hinted" and "first hint".
    hints: Vec<[[Option<u16>; 2]; 3]>,
}

/// The model. Read at the first call, a millisecond or so.
pub(super) fn model() -> &'static Model {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        Model::read(include_str!("../../intent/weights.txt"), include_str!("../../intent/lexicon.txt"))
            .expect("the committed weights are whole: a test reads them")
    });
    &MODEL
}

impl Model {
    /// `None` where it is not what train.py writes.
    fn read(weights: &'static str, lexicon: &str) -> Option<Model> {
        let mut lines = weights.lines().filter(|line| !line.starts_with('#'));
        let outputs = INTENTS.iter().map(|it| it.as_str()).chain(["tier1", "tier2", "tier3", "tier4"]);
        if !lines.next()?.strip_prefix("outputs ")?.split(' ').eq(outputs) {
            return None;
        }
        let scale: f32 = lines.next()?.strip_prefix("scale ")?.parse().ok()?;
        let (intents, tiers) = lines.next()?.strip_prefix("temperature ")?.split_once(' ')?;
        let temperatures = [intents.parse::<f32>().ok()? * scale, tiers.parse::<f32>().ok()? * scale];
        let bias = numbers(lines.next()?.strip_prefix("bias ")?)?.map(i32::from);

        let (names, weights): (Vec<_>, Vec<_>) = lines
            .map(|line| line.split_once(' ').and_then(|(name, rest)| Some((name, numbers(rest)?))))
            .collect::<Option<_>>()?;
        if names.len() > MOST_FEATURES {
            return None;
        }
        let mut features = Table::new(names.len());
        for (at, name) in (0..).zip(&names) {
            let (space, rest) = name.split_once(':')?;
            let space = match space {
                "w" => Space::Word,
                "s" => Space::System,
                "p" => Space::Prior,
                "shape" => Space::Shape,
                _ => return None,
            };
            features.insert(space.key(hash(HASH_START, rest.as_bytes())), at);
        }
        let (hinting, hinted, hints) = lexicon_of(lexicon, &features)?;
        Some(Model { names, weights, bias, temperatures, features, hinting, hinted, hints })
    }

    /// The feature of a key, where it has a weight.
    pub(super) fn find(&self, key: u64) -> Option<u16> {
        self.features.find(key)
    }

    /// What a word's hash hints at.
    pub(super) fn hints(&self, hash: u64) -> &[u8] {
        self.hinting.find(hash).map_or(&[], |at| &self.hinted[usize::from(at)])
    }

    /// The features of a hint: that it is there, and that it is the first.
    pub(super) fn hint(&self, hint: u8, space: Space) -> [Option<u16>; 2] {
        self.hints[usize::from(hint)][space as usize]
    }

    /// A feature's name and weights.
    pub(super) fn feature(&self, at: u16) -> (&'static str, &[i8; OUTPUTS]) {
        (self.names[usize::from(at)], &self.weights[usize::from(at)])
    }
}

type Lexicon = (Table, Vec<Vec<u8>>, Vec<[[Option<u16>; 2]; 3]>);

/// Which words hint at what. `word*` stands for its first five bytes, whole letters only.
fn lexicon_of(text: &str, features: &Table) -> Option<Lexicon> {
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut table = Table::new(lines.iter().map(|line| line.split_whitespace().count()).sum());
    let (mut hinted, mut hints) = (Vec::<Vec<u8>>::new(), Vec::new());
    for (hint, line) in (0_u8..).zip(lines) {
        let (name, words) = line.split_once(':')?;
        let of = |mark: &str, space: Space| {
            features.find(space.key(hash(hash(HASH_START, mark.as_bytes()), name.as_bytes())))
        };
        hints.push(Space::WORDS.map(|space| [of("~", space), of("^~", space)]));
        for word in words.split_whitespace() {
            let key = match word.strip_suffix('*') {
                Some(begun) => {
                    let end = super::features::stem_end(begun.as_bytes()).unwrap_or(begun.len());
                    hash(hash(HASH_START, &begun.as_bytes()[..end]), b"*")
                }
                None => hash(HASH_START, word.as_bytes()),
            };
            match table.find(key) {
                Some(at) if hinted[usize::from(at)].contains(&hint) => {}
                Some(at) => hinted[usize::from(at)].push(hint),
                None => {
                    table.insert(key, u16::try_from(hinted.len()).ok()?);
                    hinted.push(vec![hint]);
                }
            }
        }
    }
    Some((table, hinted, hints))
}

fn numbers(text: &str) -> Option<[i8; OUTPUTS]> {
    let mut numbers = [0; OUTPUTS];
    let mut words = text.split(' ');
    for number in &mut numbers {
        *number = words.next()?.parse().ok()?;
    }
    words.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = include_str!("../../intent/weights.txt");

    #[test]
    fn every_feature_of_the_committed_weights_is_found_under_its_own_name() {
        let model = Model::read(WHOLE, include_str!("../../intent/lexicon.txt")).unwrap();
        assert!(model.names.len() > 1_000, "{} features", model.names.len());
        for (at, name) in (0..).zip(&model.names) {
            let (space, rest) = name.split_once(':').unwrap();
            let space = match space {
                "w" => Space::Word,
                "s" => Space::System,
                "p" => Space::Prior,
                _ => Space::Shape,
            };
            assert_eq!(model.find(space.key(hash(HASH_START, rest.as_bytes()))), Some(at), "{name}");
        }
        assert!(WHOLE.len() <= 300 * 1024, "{} bytes of weights", WHOLE.len());
    }

    #[test]
    fn weights_that_are_not_whole_are_refused() {
        let head = "outputs code extraction summarise translate classify reasoning chat writing tool_use tier1 tier2 tier3 tier4\n\
                    scale 32\ntemperature 1.00 1.00\nbias 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let made = |rest: &str| Model::read(String::leak(format!("{head}{rest}")), "a: b").is_some();
        assert!(made("w:hello 1 2 3 4 5 6 7 8 9 10 11 12 13\n"));
        assert!(!made("w:hello 1 2 3 4 5 6 7 8 9 10 11 12\n"), "a weight too few");
        assert!(!made("w:hello 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n"), "a weight too many");
        assert!(!made("w:hello 1 2 3 4 5 6 7 8 9 10 11 12 300\n"), "no byte");
        assert!(!made("x:hello 1 2 3 4 5 6 7 8 9 10 11 12 13\n"), "no such place");
        assert!(Model::read("", "a: b").is_none());
    }
}
