//! The naive scan, kept as the oracle: it asks every detector at every place, with no machine and no prefilter.

use super::*;

/// What `Scanner::find` must find.
fn naive(scanner: &Scanner, text: &str) -> Vec<Finding> {
    let bytes = text.as_bytes();
    let mut hits = Vec::new();
    let mut floor = 0;
    let mut floors = [0; DIGITS.len()];
    for (place, _) in text.char_indices() {
        for form in 0..ApiKeys::forms() {
            hits.extend(scanner.keys.at(bytes, form, place));
        }
        if let Some(sign) = ["@", "%40"].into_iter().find(|sign| text[place..].starts_with(sign)) {
            hits.extend(address(text, place..place + sign.len(), &mut floor));
        }
        if bytes[place].is_ascii_digit() && text::before(bytes, place).is_none_or(|b| !b.is_ascii_digit()) {
            let run = place..text::digits_end(bytes, place);
            for (detector, floor) in DIGITS.iter().zip(&mut floors) {
                if let Some(hit) = detector.find(bytes, run.clone()).filter(|hit| hit.range.start >= *floor) {
                    *floor = hit.range.end;
                    hits.push(hit);
                }
            }
        }
    }
    overlap::resolve(hits)
}

const PIECES: &[&str] = &[
    "4111 1111 1111 1111",
    "378282246310005",
    "4111-1111",
    "DE89 3704 0044 0532 0130 00",
    "gb29nwbk60161331926819",
    "123-45-6789",
    "123456789",
    "ssn ",
    "+1 415 555 2671",
    "(415) 555-2671",
    "phone: ",
    "call ",
    "order ",
    "030 901820",
    "+",
    "-",
    " ",
    ".",
    "(",
    ")",
    "/",
    "\n",
    "\\n",
    "\\u003c",
    "\"",
    ":",
    "=",
    "_",
    ",",
    "é",
    "漢",
    "\u{a0}",
    "🦀",
    "–",
    "a",
    "Z",
    "0",
    "1",
    "7",
    "42",
    "2024-01-02",
    "1.2.3",
    "550e8400-e29b-41d4-a716-446655440000",
    "alice@example.com",
    "@",
    "%40",
    "x@y.zz",
    "example.com",
    ".com",
    "müller",
    "sk-",
    "sk-proj-",
    "sk-ant-api03-",
    "sk-alf-",
    "AKIA",
    "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "ghp_",
    "0123456789abcdefghijABCDEFGHIJ012345",
    "0123456789abcdef0123456789abcdef",
    "AzUrE ",
    "API_KEY",
    "Mistral ",
    "key ",
    "secret ",
    "bearer ",
    "hf_",
    "xoxb-",
    "glpat-",
    "SG.",
    "eyJ",
    "eyJhbGciOiJIUzI1NiJ9",
    "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----",
    "MIIEpAIBAAKCAQEA0123456789abcdefghij",
    "SK",
    "key-",
    "hooks.slack.com/services/",
    "AccountKey=",
];

/// Numbers that look random and are the same on every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

#[test]
fn the_quick_scan_finds_what_the_naive_one_finds_in_any_mixture() {
    let scanner = Scanner::new();
    let mut random = Seeded(0x9e37_79b9_7f4a_7c15);
    let mut found = 0;
    for round in 0..1_000 {
        let glue = [
            "", " ", "
",
        ];
        let text: String = (0..1 + random.below(12))
            .flat_map(|_| [PIECES[random.below(PIECES.len())], glue[random.below(glue.len())]])
            .collect();
        let quick = scanner.find(&text);
        assert_eq!(quick, naive(&scanner, &text), "round {round}: {text:?}");
        assert_well_formed(&text, &quick);
        found += quick.len();
    }
    assert!(found > 500, "the mixture holds something to find: {found}");
}

#[test]
fn any_text_at_all_is_scanned_alike() {
    use proptest::prelude::*;
    let scanner = Scanner::new();
    proptest!(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }, |(text in any::<String>())| {
        let quick = scanner.find(&text);
        prop_assert_eq!(&quick, &naive(&scanner, &text));
        assert_well_formed(&text, &quick);
    });
}

fn assert_well_formed(text: &str, findings: &[Finding]) {
    let mut from = 0;
    for Finding { range, .. } in findings {
        assert!(range.start >= from && range.start < range.end, "{findings:?} in {text:?}");
        assert!(text.get(range.clone()).is_some(), "{findings:?} in {text:?}");
        from = range.end;
    }
}

#[test]
fn a_clean_prompt_stays_as_it_is() {
    let scanner = Scanner::new();
    for text in [
        "",
        "Summarise the attached report in 3 bullet points, 2024-01-02 to 2024-03-31, at most 1,000 words.",
        "fn main() { let x: [u8; 4] = [192, 168, 0, 1]; println!(\"{:?} {}\", x, 3.14159265358979); }",
        "commit 8f14e45fceea167a5a36dedd4bea2543 touches 12 files (+345 -67), see issue #4711 and RFC 9457.",
        "UPDATE t SET a = 1234567890123 WHERE id = '550e8400-e29b-41d4-a716-446655440000'; -- v1.22.333",
        "SELECT * FROM orders WHERE total > 1000000 AND created_at < '2024-05-06T07:08:09+02:00'",
        "ports 8080-8090, 10.0.0.1:5432, [::1]:6379, 192.168.100.200/24, MAC 00:1b:44:11:3a:b7",
        "@dataclass\nclass P:\n    x: int = 0x7fffffff  # 2147483647\n    y = a @ b",
        "Die Rechnung 2024-000123 über 1.234,56 € ist am 31.12.2024 fällig; 12 345 678 Stück.",
        "第3章 第12节：2024年1月2日，共1234567890字。",
    ] {
        assert_eq!(scanner.find(text), [], "{text}");
    }
}

#[test]
fn one_text_with_everything_in_it_is_redacted_whole() {
    let text = "Hi, I am alice@example.com (+1 415 555 2671), card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, \
                SSN 123-45-6789, key sk-proj-Ab1_Ab1-Ab1_Ab1-Ab1_Ab1-Ab1_.";
    let findings = Scanner::new().find(text);
    let all = Kind::ALL.into_iter().map(|kind| (kind, crate::Action::Redact)).collect();
    let applied = crate::apply(text, &findings, &all);
    assert_eq!(
        applied.text.as_deref(),
        Some("Hi, I am [EMAIL] ([PHONE]), card [PAYMENT_CARD], IBAN [IBAN], SSN [US_SSN], key [API_KEY].")
    );
    assert!(applied.redacted.values().all(|&count| count == 1));
    let again = applied.text.unwrap();
    assert_eq!(Scanner::new().find(&again), [], "placeholders are no findings");
}
