//! Reasoning that only its provider can read, carried through conversations of other shapes: the id of the item and its encrypted
//! content stand in the place of a block's signature, behind a mark that says whose they are. It has no other characters than the
//! signatures of other providers, so that it passes wherever those do.

/// What our signatures begin with. The number is the version of what follows.
const MARK: &str = "responses1=";

/// A signature for this item; none if its parts would not come back as they are.
pub(crate) fn seal(id: &str, encrypted: &str) -> Option<String> {
    let fits = is_opaque(encrypted) && is_opaque(id) && !id.contains('=');
    fits.then(|| format!("{MARK}{id}={encrypted}"))
}

/// The id and the encrypted content of a signature that was sealed here.
pub(crate) fn unseal(signature: &str) -> Option<(&str, &str)> {
    let (id, encrypted) = signature.strip_prefix(MARK)?.split_once('=')?;
    (is_opaque(id) && is_opaque(encrypted)).then_some((id, encrypted))
}

/// Nothing that a person could have written for another to read.
fn is_opaque(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_comes_back_and_nothing_else_does() {
        for (id, encrypted) in [("rs_68af", "gAAAAABo-x_y="), ("rs_1", "a+b/c==")] {
            assert_eq!(seal(id, encrypted).as_deref().and_then(unseal), Some((id, encrypted)));
        }
        for (id, encrypted) in [("", "a"), ("rs", ""), ("r=s", "a"), ("rs", "two words"), ("rs 1", "a")] {
            assert_eq!(seal(id, encrypted), None, "{id} {encrypted}");
        }
        for foreign in ["EqMBCkYIBxgCKkA", "", "responses1=", "responses1=rs_1", "responses1=rs_1=mail me"] {
            assert_eq!(unseal(foreign), None, "{foreign}");
        }
    }
}
