//! What one layer's content has that another has not: modules by their path, data by the path of each value.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Pack;

/// What became of a module or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Added,
    Changed,
    Removed,
}

/// From one content to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// By path.
    pub modules: BTreeMap<String, How>,
    /// By path below `data`, its parts joined by dots; lists are one value.
    pub data: BTreeMap<String, How>,
}

impl Difference {
    /// What has to happen to `before` for it to be `after`.
    pub fn between(before: &Pack, after: &Pack) -> Difference {
        let modules = |pack: &Pack| -> BTreeMap<String, String> {
            pack.modules.iter().map(|module| (module.path.clone(), module.text.clone())).collect()
        };
        Difference {
            modules: compared(&modules(before), &modules(after)),
            data: compared(&values(&before.data), &values(&after.data)),
        }
    }

    /// How many modules it has happened to.
    pub fn modules(&self, how: How) -> usize {
        self.modules.values().filter(|it| **it == how).count()
    }

    /// How many values.
    pub fn data(&self, how: How) -> usize {
        self.data.values().filter(|it| **it == how).count()
    }
}

fn compared<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> BTreeMap<String, How> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let how = |name: &String| match (before.get(name), after.get(name)) {
        (None, Some(_)) => Some(How::Added),
        (Some(_), None) => Some(How::Removed),
        (Some(one), Some(other)) if one != other => Some(How::Changed),
        _ => None,
    };
    names.into_iter().filter_map(|name| Some((name.clone(), how(name)?))).collect()
}

fn values(data: &Value) -> BTreeMap<String, &Value> {
    let mut leaves = BTreeMap::new();
    gather(data, String::new(), &mut leaves);
    leaves
}

fn gather<'a>(value: &'a Value, path: String, leaves: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(members) if !members.is_empty() || path.is_empty() => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                gather(value, path, leaves);
            }
        }
        value => drop(leaves.insert(path, value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Source;

    #[test]
    fn it_names_every_module_and_value_that_is_other() {
        let pack = |modules: &[(&str, &str)], data: Value| Pack {
            modules: modules.iter().map(|(path, text)| Source::new(*path, *text)).collect(),
            data,
            ..Pack::default()
        };
        let before = pack(&[("a", "1"), ("b", "1"), ("c", "1")], json!({"x": {"y": 1, "z": [1]}, "gone": {}}));
        let after = pack(&[("b", "2"), ("c", "1"), ("d", "1")], json!({"x": {"y": 1, "z": [2], "new": null}}));
        let found = Difference::between(&before, &after);
        let told =
            |of: &BTreeMap<String, How>| of.iter().map(|(path, how)| format!("{path} {how:?}")).collect::<Vec<_>>();
        assert_eq!(told(&found.modules), ["a Removed", "b Changed", "d Added"]);
        assert_eq!(told(&found.data), ["gone Removed", "x.new Added", "x.z Changed"]);
        assert_eq!((found.modules(How::Added), found.data(How::Removed)), (1, 1));
        assert_eq!(Difference::between(&after, &after), Difference::default());
    }
}
