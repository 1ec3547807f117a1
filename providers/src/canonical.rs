//! One spelling for all JSON texts that mean the same.

use crate::json::{Kind, Scanner, quote, unescape};
use crate::request::BadRequest;

/// One spelling for all bodies that mean the same: members sorted, white space gone, strings escaped in one way; numbers as they
/// were written. `left_out` names members of the outermost object. The text has been checked.
pub(crate) fn canonical(text: &str, left_out: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut scanner = Scanner::new(text);
    write_canonical(&mut scanner, &mut out, left_out).expect("the text has been checked");
    out
}

fn write_canonical(scanner: &mut Scanner<'_>, out: &mut Vec<u8>, left_out: &[&str]) -> Result<(), BadRequest> {
    match scanner.peek()? {
        Kind::Object => {
            let mut walk = scanner.object()?;
            let mut members = Vec::new();
            while let Some(key) = scanner.any_member(&mut walk)? {
                let mut value = Vec::new();
                write_canonical(scanner, &mut value, &[])?;
                if !left_out.contains(&&*key.name) {
                    members.push((key.name, value));
                }
            }
            members.sort_by(|a, b| a.0.cmp(&b.0)); // stable: repeated members keep their order
            out.push(b'{');
            for (i, (name, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(quote(name).as_bytes());
                out.push(b':');
                out.extend_from_slice(value);
            }
            out.push(b'}');
        }
        Kind::Array => {
            let mut walk = scanner.array()?;
            out.push(b'[');
            let mut first = true;
            while scanner.element(&mut walk)? {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                write_canonical(scanner, out, &[])?;
            }
            out.push(b']');
        }
        Kind::String => {
            let span = scanner.string()?;
            out.extend_from_slice(quote(&unescape(&scanner.text()[span])).as_bytes());
        }
        Kind::Number | Kind::Bool | Kind::Null => {
            let span = scanner.skip()?;
            out.extend_from_slice(scanner.text()[span].as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_one_meaning() {
        let a = canonical("{ \"b\" : [1.0, \"\\u0061\\/\"] , \"a\":{\"z\":1,\"y\":2}, \"stream\":true }", &["stream"]);
        assert_eq!(String::from_utf8(a).unwrap(), "{\"a\":{\"y\":2,\"z\":1},\"b\":[1.0,\"a/\"]}");
    }
}
