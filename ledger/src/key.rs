//! App keys, as their holders see them: `sk-alf-<public id>-<secret>-<checksum>`, and operators' keys.
//! A key is looked up by its public id, kept as a hash, compared in constant time and shown once.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::id::{Id, Key};

const PREFIX: &str = "sk-alf-";
const OPERATOR_PREFIX: &str = "alf-admin-";
const ID_DIGITS: usize = 32;
const SECRET_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;
const LENGTH: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + 1 + CHECK_DIGITS;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that somebody showed us: well-formed, its checksum right, not yet known to be anyone's.
///
/// It keeps the hash only, so it cannot leak what it was made from.
#[derive(Clone)]
pub struct PresentedKey {
    id: Id<Key>,
    hash: [u8; 32],
}

impl PresentedKey {
    /// Reads a key. A typing error is caught here by the checksum, before anything is looked up.
    pub fn parse(text: &str) -> Option<PresentedKey> {
        if text.len() != LENGTH || !text.is_ascii() {
            return None;
        }
        let (body, check) = text.split_at(LENGTH - CHECK_DIGITS);
        let mut parts = body.strip_prefix(PREFIX)?.strip_suffix('-')?.split('-');
        let (id, secret) = (parts.next()?, parts.next()?);
        let in_form = parts.next().is_none()
            && id.len() == ID_DIGITS
            && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        if !in_form || !bool::from(checksum(body).ct_eq(check.as_bytes())) {
            return None;
        }
        let id = Uuid::try_parse(id).ok().map(Id::from_uuid)?;
        Some(PresentedKey { id, hash: Sha256::digest(text.as_bytes()).into() })
    }

    /// Whose key it says it is.
    pub fn id(&self) -> Id<Key> {
        self.id
    }

    /// Whether this is the key that was kept as `secret_hash`; takes the same time whatever the answer.
    pub fn matches(&self, secret_hash: &[u8; 32]) -> bool {
        self.hash.ct_eq(secret_hash).into()
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({})", self.id)
    }
}

/// A secret that was just made, to be shown once and kept by its holder.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownKey(String);

impl ShownKey {
    /// Makes the key of `id` from 32 random bytes.
    pub fn for_app(id: Id<Key>, random: [u8; 32]) -> ShownKey {
        let body = format!("{PREFIX}{}-{}-", id.uuid().simple(), base62(random));
        let check = checksum(&body);
        ShownKey(format!("{body}{}", String::from_utf8_lossy(&check)))
    }

    /// Makes an operator's key from 32 random bytes.
    pub fn for_operator(random: [u8; 32]) -> ShownKey {
        ShownKey(format!("{OPERATOR_PREFIX}{}", base62(random)))
    }

    /// The key in clear. It goes to its holder and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        operator_hash(self.0.as_bytes())
    }
}

impl fmt::Debug for ShownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownKey(…)")
    }
}

/// What is kept of an operator's key.
pub fn operator_hash(presented: &[u8]) -> [u8; 32] {
    Sha256::digest(presented).into()
}

/// Six base62 digits of the SHA-256 of what precedes them.
fn checksum(body: &str) -> [u8; CHECK_DIGITS] {
    let digest: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    let mut number = digest[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut check = [0; CHECK_DIGITS];
    for digit in check.iter_mut().rev() {
        *digit = BASE62[(number % 62) as usize];
        number /= 62;
    }
    check
}

/// A 256-bit number in 43 base62 digits, most significant first.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = [b'0'; SECRET_DIGITS];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0u16;
        for byte in &mut number {
            let value = rest * 256 + u16::from(*byte);
            *byte = (value / 62) as u8; // rest < 62, so the quotient is below 256
            rest = value % 62;
        }
        *digit = BASE62[usize::from(rest)];
    }
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Id<Key> {
        Id::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_00ff))
    }

    #[test]
    fn a_key_reads_back_and_matches_only_its_own_hash() {
        let shown = ShownKey::for_app(id(), [9; 32]);
        let presented = PresentedKey::parse(shown.expose()).expect("well-formed");
        assert_eq!(presented.id(), id());
        assert!(presented.matches(&shown.hash()));
        assert!(!presented.matches(&ShownKey::for_app(id(), [8; 32]).hash()));
        let form = shown.expose().split('-').map(str::len).collect::<Vec<_>>();
        assert_eq!(form, [2, 3, 32, 43, 6], "sk-alf-<id>-<secret>-<checksum>");
    }

    #[test]
    fn every_single_typing_error_is_caught() {
        let good = ShownKey::for_app(id(), [9; 32]).expose().to_owned();
        for place in 0..good.len() {
            for wrong in ['x', '0', '-'] {
                let mut bad: Vec<char> = good.chars().collect();
                if bad[place] == wrong {
                    continue;
                }
                bad[place] = wrong;
                let bad: String = bad.into_iter().collect();
                assert!(PresentedKey::parse(&bad).is_none(), "{bad}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_panic() {
        let good = ShownKey::for_app(id(), [9; 32]).expose().to_owned();
        let (upper, padded, short) = (good.to_uppercase(), format!(" {good}"), &good[..good.len() - 1]);
        let wide = "é".repeat(LENGTH / 2);
        for wrong in ["", "sk-alf-", "sk-proj-abc", &upper, &padded, short, &wide] {
            assert!(PresentedKey::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let shown = ShownKey::for_app(id(), [9; 32]);
        let presented = PresentedKey::parse(shown.expose()).expect("well-formed");
        for text in [format!("{shown:?}"), format!("{presented:?}")] {
            assert!(!text.contains("sk-alf") && !text.contains(&base62([9; 32])), "{text}");
        }
    }

    #[test]
    fn base62_keeps_every_bit() {
        assert_eq!(base62([0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 61;
        assert_eq!(base62(one), format!("{}z", "0".repeat(42)));
        one[31] = 62;
        assert_eq!(base62(one), format!("{}10", "0".repeat(41)));
        assert_ne!(base62([0xff; 32]), base62([0xfe; 32]));
    }

    #[test]
    fn an_operators_key_is_never_mistaken_for_an_apps() {
        let shown = ShownKey::for_operator([1; 32]);
        assert!(shown.expose().starts_with("alf-admin-") && !shown.expose().starts_with("sk-alf-"));
        assert_eq!(shown.hash(), operator_hash(shown.expose().as_bytes()));
    }
}
