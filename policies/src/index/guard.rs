//! A condition on single facts that holds whenever a rule contributes anything: where it does not hold, the rule need not be
//! evaluated. It compares values exactly as the interpreter does.

use std::collections::BTreeSet;
use std::fmt;

use regorus::Value;
use regorus::unstable::BoolOp;

/// Which fact: its place in `Paths`.
pub(crate) type PathId = usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The fact is one of these.
    OneOf(PathId, BTreeSet<Value>),
    /// The list of facts holds this.
    Has(PathId, Value),
    /// The fact is known, and so compared with this.
    Compared(PathId, BoolOp, Value),
    /// The fact is known and not false.
    True(PathId),
    /// The fact is known.
    Known(PathId),
    /// The list of facts is not empty.
    Filled(PathId),
    /// The fact is of this kind: `is_array`, …
    Is(PathId, &'static str),
    /// The other way round.
    Not(Box<Guard>),
}

impl Guard {
    /// Whether it holds of the input, whose facts are looked up by `at`.
    pub fn holds<'v>(&self, at: &impl Fn(PathId) -> &'v Value) -> bool {
        match self {
            Guard::OneOf(path, values) => values.contains(at(*path)),
            Guard::Has(path, value) => match at(*path) {
                Value::Array(items) => items.contains(value),
                Value::Set(items) => items.contains(value),
                Value::Object(members) => members.values().any(|member| member == value),
                _ => false,
            },
            Guard::Compared(path, order, value) => {
                let fact = at(*path);
                *fact != Value::Undefined && compared(fact, order, value)
            }
            Guard::True(path) => !matches!(at(*path), Value::Undefined | Value::Bool(false)),
            Guard::Known(path) => *at(*path) != Value::Undefined,
            Guard::Filled(path) => !nothing_in(at(*path)),
            Guard::Is(path, kind) => is(kind, at(*path)),
            Guard::Not(guard) => !guard.holds(at),
        }
    }

    /// In the words of a rule, without the input's value.
    pub fn said<'a>(&'a self, paths: &'a Paths) -> Saying<'a> {
        Saying(self, paths)
    }
}

pub(crate) struct Saying<'a>(&'a Guard, &'a Paths);

impl fmt::Display for Saying<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Saying(guard, paths) = *self;
        match guard {
            Guard::OneOf(path, values) => match values.len() {
                1 => write!(f, "{} == {}", paths.name(*path), values.iter().next().unwrap_or(&Value::Undefined)),
                few if few <= 8 => {
                    let values: Vec<String> = values.iter().map(Value::to_string).collect();
                    write!(f, "{} in {{{}}}", paths.name(*path), values.join(", "))
                }
                many => write!(f, "{} in {many} values", paths.name(*path)),
            },
            Guard::Has(path, value) => write!(f, "{value} in {}", paths.name(*path)),
            Guard::Compared(path, order, value) => {
                let sign = match order {
                    BoolOp::Lt => "<",
                    BoolOp::Le => "<=",
                    BoolOp::Eq => "==",
                    BoolOp::Ge => ">=",
                    BoolOp::Gt => ">",
                    BoolOp::Ne => "!=",
                };
                write!(f, "{} {sign} {value}", paths.name(*path))
            }
            Guard::True(path) => f.write_str(&paths.name(*path)),
            Guard::Known(path) => write!(f, "{} is known", paths.name(*path)),
            Guard::Filled(path) => write!(f, "{} holds anything", paths.name(*path)),
            Guard::Is(path, kind) => write!(f, "{kind}({})", paths.name(*path)),
            Guard::Not(guard) => write!(f, "not {}", Saying(guard, paths)),
        }
    }
}

/// The functions that ask what kind of value a fact is.
pub(crate) const KINDS: [&str; 7] =
    ["is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string"];

fn is(kind: &str, value: &Value) -> bool {
    kind == match value {
        Value::Null => "is_null",
        Value::Bool(_) => "is_boolean",
        Value::Number(_) => "is_number",
        Value::String(_) => "is_string",
        Value::Array(_) => "is_array",
        Value::Set(_) => "is_set",
        Value::Object(_) => "is_object",
        Value::Undefined => return false,
    }
}

/// As the interpreter compares.
pub(crate) fn compared(a: &Value, order: &BoolOp, b: &Value) -> bool {
    match order {
        BoolOp::Lt => a < b,
        BoolOp::Le => a <= b,
        BoolOp::Eq => a == b,
        BoolOp::Ge => a >= b,
        BoolOp::Gt => a > b,
        BoolOp::Ne => a != b,
    }
}

/// Whether there is nothing to go through. What is no list at all is left to the interpreter, which complains.
pub(crate) fn nothing_in(value: &Value) -> bool {
    match value {
        Value::Undefined => true,
        Value::Array(items) => items.is_empty(),
        Value::Set(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// The facts that guards ask for.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    names: Vec<Vec<String>>,
    /// The same as the interpreter's own values.
    keys: Vec<Vec<Value>>,
}

impl Paths {
    pub fn id(&mut self, path: &[String]) -> PathId {
        self.names.iter().position(|known| known == path).unwrap_or_else(|| {
            self.names.push(path.to_vec());
            self.keys.push(path.iter().map(|step| Value::from(step.as_str())).collect());
            self.names.len() - 1
        })
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The fact in an input.
    pub fn of<'v>(&self, path: PathId, input: &'v Value) -> &'v Value {
        self.keys[path].iter().fold(input, |value, key| &value[key])
    }

    fn name(&self, path: PathId) -> String {
        ["input".to_owned()].iter().chain(&self.names[path]).map(String::as_str).collect::<Vec<_>>().join(".")
    }
}
