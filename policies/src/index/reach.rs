//! What a rule may read, through all the rules that it refers to: which facts, and whether there are any.

use std::collections::{BTreeMap, BTreeSet};

use crate::outline::{Outline, RuleOutline};

/// Every rule of the modules in force, by path.
pub(crate) struct Reach<'a> {
    rules: BTreeMap<&'a [String], Vec<(usize, usize)>>,
    modules: &'a [&'a Outline],
    packages: BTreeSet<&'a [String]>,
}

impl<'a> Reach<'a> {
    pub fn of(modules: &'a [&'a Outline]) -> Reach<'a> {
        let mut rules: BTreeMap<&[String], Vec<(usize, usize)>> = BTreeMap::new();
        for (module, outline) in modules.iter().enumerate() {
            for (at, rule) in outline.rules.iter().enumerate() {
                rules.entry(&rule.path).or_default().push((module, at));
            }
        }
        Reach { rules, modules, packages: modules.iter().map(|module| module.package.as_slice()).collect() }
    }

    /// The paths below `input` that a rule may read, itself or through others.
    pub fn inputs(&self, module: usize, rule: usize) -> BTreeSet<Vec<String>> {
        let mut seen = BTreeSet::from([(module, rule)]);
        let mut queue = vec![(module, rule)];
        let mut inputs = BTreeSet::new();
        while let Some((module, rule)) = queue.pop() {
            let outline: &RuleOutline = &self.modules[module].rules[rule];
            inputs.extend(outline.inputs.iter().cloned());
            for (path, _) in &outline.reads {
                queue.extend(self.meeting(path).filter(|met| seen.insert(*met)));
            }
        }
        inputs
    }

    /// The rules at exactly this path: module and place.
    pub fn at(&self, path: &[String]) -> &[(usize, usize)] {
        self.rules.get(path).map_or(&[], Vec::as_slice)
    }

    /// Whether only data can be at, below or above this path.
    pub fn is_data(&self, path: &[String]) -> bool {
        let packages = self.packages.range(path..).next().is_some_and(|package| package.starts_with(path));
        !packages && self.meeting(path).next().is_none()
    }

    /// The rules at, below and above a path.
    fn meeting<'p>(&'p self, path: &'p [String]) -> impl Iterator<Item = (usize, usize)> + 'p {
        let below = self.rules.range(path..).take_while(move |(at, _)| at.starts_with(path));
        let above = (1..path.len()).filter_map(move |length| self.rules.get(&path[..length]));
        below.map(|(_, rules)| rules).chain(above).flatten().copied()
    }
}
