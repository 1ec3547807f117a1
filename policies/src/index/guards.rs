//! Reads from a rule's statements what must hold of the facts before it can contribute: a reading of regorus's syntax tree, as
//! careful as `outline.rs` is generous. What it does not understand is no guard; then the rule is always evaluated.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, Module, Query, Ref, Rule, RuleHead};

use super::guard::{Guard, KINDS, Paths, compared, nothing_in};
use super::names::{bound, imports, steps};
use super::reach::Reach;
use crate::outline::is_builtin;

/// Helpers that call helpers are followed so far.
const DEEPEST: usize = 4;

/// When a rule can contribute.
#[derive(Debug)]
pub(crate) enum Applies {
    /// At no call, for a reason in words.
    Never(String),
    /// When all of these hold.
    When(Vec<Guard>),
}

/// All that stands around a rule.
pub(crate) struct Around<'a> {
    pub modules: &'a [Ref<Module>],
    pub reach: &'a Reach<'a>,
    pub data: &'a Value,
    /// The input in which only those facts are that every call has.
    pub least: &'a Value,
}

/// When this rule can contribute.
pub(crate) fn applies(around: &Around<'_>, module: usize, rule: &Ref<Rule>, paths: &mut Paths) -> Applies {
    let mut reader = Reader { around, paths, guards: Vec::new() };
    match reader.rule(module, rule, 0) {
        Ok(()) => Applies::When(reader.guards),
        Err(Never(why)) => Applies::Never(why),
    }
}

/// Why a statement never holds.
struct Never(String);

type Read = Result<(), Never>;

struct Reader<'a> {
    around: &'a Around<'a>,
    paths: &'a mut Paths,
    guards: Vec<Guard>,
}

/// What the names of a rule mean.
struct Names {
    package: Vec<String>,
    imports: BTreeMap<String, Vec<String>>,
    bound: BTreeSet<String>,
}

/// What a reference starts with, as far as it is fixed.
enum Place {
    Input(Vec<String>),
    /// Only data can be there: the path and the value.
    Data(Vec<String>, Value),
    /// A rule of this path, or below one.
    Rule(Vec<String>),
}

/// What a statement comes to.
enum Exact {
    Always,
    Never(String),
    When(Guard),
}

impl Reader<'_> {
    fn rule(&mut self, module: usize, rule: &Ref<Rule>, depth: usize) -> Read {
        let Rule::Spec { bodies, .. } = rule.as_ref() else { return Ok(()) };
        let [body] = bodies.as_slice() else { return Ok(()) }; // any of several may hold
        let tree = &self.around.modules[module];
        let names = Names { package: steps(&tree.package.refr).whole(), imports: imports(tree), bound: bound(rule) };
        let hidden = |name: &str| names.bound.contains(name) || names.imports.contains_key(name);
        if hidden("input") || hidden("data") {
            return Ok(());
        }
        self.query(&names, &body.query, depth)
    }

    fn query(&mut self, names: &Names, query: &Ref<Query>, depth: usize) -> Read {
        for statement in query.stmts.iter().filter(|statement| statement.with_mods.is_empty()) {
            match &statement.literal {
                Literal::Expr { expr, .. } => self.holds(names, expr, depth)?,
                Literal::NotExpr { expr, .. } => match self.exactly(names, expr) {
                    Some(Exact::Always) => return Err(Never(format!("not {} never holds", said(expr)))),
                    Some(Exact::When(guard)) => self.guards.push(Guard::Not(Box::new(guard))),
                    Some(Exact::Never(_)) | None => {}
                },
                Literal::SomeIn { collection, .. } => self.filled(names, collection)?,
                Literal::SomeVars { .. } | Literal::Every { .. } => {}
            }
        }
        Ok(())
    }

    /// A statement that has to hold.
    fn holds(&mut self, names: &Names, expr: &Ref<Expr>, depth: usize) -> Read {
        match self.exactly(names, expr) {
            Some(Exact::Always) => return Ok(()),
            Some(Exact::Never(why)) => return Err(Never(why)),
            Some(Exact::When(guard)) => {
                self.guards.push(guard);
                return Ok(());
            }
            None => {}
        }
        match expr.as_ref() {
            Expr::AssignExpr { op: AssignOp::ColEq, rhs, .. } => self.known(names, rhs),
            Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                self.known(names, lhs)?;
                self.known(names, rhs)
            }
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                if let Some(list) =
                    counted(lhs, op, rhs).filter(|(function, _)| self.is_builtin(names, function, "count"))
                {
                    self.filled(names, list.1)?;
                }
                self.known(names, lhs)?;
                self.known(names, rhs)
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                if let Some((Place::Rule(path), true)) = self.place(names, expr)
                    && depth < DEEPEST
                {
                    self.helper(&path, depth)?;
                }
                self.known(names, expr)
            }
            Expr::Call { .. } => self.known(names, expr),
            _ => Ok(()),
        }
    }

    /// A rule without arguments that is true or not there (or false, by its default), and has one body: what that asks for.
    fn helper(&mut self, path: &[String], depth: usize) -> Read {
        let mut only = None;
        for (module, at) in self.around.reach.at(path) {
            let Some(rule) = self.around.modules.get(*module).and_then(|module| module.policy.get(*at)) else {
                return Ok(());
            };
            match rule.as_ref() {
                Rule::Default { value, args, .. } if args.is_empty() => {
                    if !matches!(value.as_ref(), Expr::Bool { value: Value::Bool(false), .. }) {
                        return Ok(());
                    }
                }
                Rule::Spec { head: RuleHead::Compr { refr, .. }, .. }
                    if only.is_none() && steps(refr).rest.is_empty() =>
                {
                    only = Some((*module, rule.clone()));
                }
                _ => return Ok(()),
            }
        }
        match only {
            Some((module, rule)) => self.rule(module, &rule, depth + 1),
            None => Ok(()),
        }
    }

    /// What a statement comes to, where that can be said exactly.
    fn exactly(&mut self, names: &Names, expr: &Ref<Expr>) -> Option<Exact> {
        let never = || Exact::Never(format!("{} never holds", said(expr)));
        match expr.as_ref() {
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let (fact, op, value) = match (self.value(names, lhs), self.value(names, rhs)) {
                    (None, Some(value)) => (lhs, op.clone(), value),
                    (Some(value), None) => (rhs, turned(op), value),
                    (Some(a), Some(b)) => {
                        let holds = a != Value::Undefined && b != Value::Undefined && compared(&a, op, &b);
                        return Some(if holds { Exact::Always } else { never() });
                    }
                    (None, None) => return None,
                };
                let (path, without) = self.fact(names, fact)?;
                if value == Value::Undefined {
                    return Some(never());
                }
                if without.is_some_and(|without| op != BoolOp::Eq || without == value) {
                    return None;
                }
                let path = self.paths.id(&path);
                Some(Exact::When(match op {
                    BoolOp::Eq => Guard::OneOf(path, BTreeSet::from([value])),
                    op => Guard::Compared(path, op, value),
                }))
            }
            Expr::Membership { key: None, value, collection, .. } => {
                match (self.value(names, value), self.value(names, collection)) {
                    (None, Some(list)) => {
                        let (path, without) = self.fact(names, value)?;
                        let list: BTreeSet<Value> = match list {
                            Value::Array(items) => items.iter().cloned().collect(),
                            Value::Set(items) => items.iter().cloned().collect(),
                            Value::Object(members) => members.values().cloned().collect(),
                            _ => BTreeSet::new(),
                        };
                        if list.is_empty() {
                            return Some(never());
                        }
                        let open = without.is_some_and(|without| list.contains(&without));
                        (!open).then(|| Exact::When(Guard::OneOf(self.paths.id(&path), list)))
                    }
                    (Some(value), None) if value != Value::Undefined => {
                        let (path, without) = self.fact(names, collection)?;
                        let open = without.is_some_and(|without| without != Value::new_array());
                        (!open).then(|| Exact::When(Guard::Has(self.paths.id(&path), value)))
                    }
                    _ => None,
                }
            }
            Expr::Call { fcn, params, .. } => {
                let kind = KINDS.into_iter().find(|kind| self.is_builtin(names, fcn, kind))?;
                let [fact] = params.as_slice() else { return None };
                let (path, without) = self.fact(names, fact)?;
                without.is_none().then(|| Exact::When(Guard::Is(self.paths.id(&path), kind)))
            }
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => match self.place(names, expr)? {
                (Place::Input(path), true) => Some(Exact::When(Guard::True(self.paths.id(&path)))),
                (Place::Data(path, Value::Undefined), _) => {
                    Some(Exact::Never(format!("there is no data.{}", path.join("."))))
                }
                (Place::Data(_, Value::Bool(false)), true) => Some(never()),
                (Place::Data(..), true) => Some(Exact::Always),
                _ => None,
            },
            _ => None,
        }
    }

    /// What is a part of a statement that has to hold, and must be known for it.
    fn known(&mut self, names: &Names, expr: &Ref<Expr>) -> Read {
        match expr.as_ref() {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => match self.place(names, expr) {
                Some((Place::Input(path), whole)) => {
                    let always = whole && path.iter().fold(self.around.least, |at, step| &at[step.as_str()]).is_known();
                    let path = self.paths.id(&path);
                    if !always {
                        self.guards.push(if whole { Guard::Known(path) } else { Guard::Filled(path) });
                    }
                    Ok(())
                }
                Some((Place::Data(path, value), whole))
                    if value == Value::Undefined || (!whole && nothing_in(&value)) =>
                {
                    Err(Never(format!("there is no data.{}", path.join("."))))
                }
                _ => Ok(()),
            },
            Expr::BoolExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } | Expr::BinExpr { lhs, rhs, .. } => {
                self.known(names, lhs)?;
                self.known(names, rhs)
            }
            Expr::Call { params, .. } => params.iter().try_for_each(|param| self.known(names, param)),
            _ => Ok(()),
        }
    }

    /// What is gone through, and has to hold anything.
    fn filled(&mut self, names: &Names, expr: &Ref<Expr>) -> Read {
        match self.place(names, expr) {
            Some((Place::Input(path), _)) => {
                let path = self.paths.id(&path);
                self.guards.push(Guard::Filled(path));
                Ok(())
            }
            Some((Place::Data(path, value), _)) if nothing_in(&value) => {
                Err(Never(format!("there is nothing in data.{}", path.join("."))))
            }
            _ => Ok(()),
        }
    }

    /// A value that is the same at every call.
    fn value(&self, names: &Names, expr: &Ref<Expr>) -> Option<Value> {
        let all = |items: &[Ref<Expr>]| -> Option<Vec<Value>> {
            let items = items.iter().map(|item| self.value(names, item).filter(ValueExt::is_known));
            items.collect()
        };
        match expr.as_ref() {
            Expr::String { value, .. }
            | Expr::RawString { value, .. }
            | Expr::Number { value, .. }
            | Expr::Bool { value, .. }
            | Expr::Null { value, .. } => Some(value.clone()),
            Expr::Array { items, .. } => all(items).map(Value::from),
            Expr::Set { items, .. } => all(items).map(|items| Value::from(items.into_iter().collect::<BTreeSet<_>>())),
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => match self.place(names, expr)? {
                (Place::Data(_, value), true) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// A fact: its path, and what stands for it where it is not known (`object.get(input.caller, "team", "")`).
    fn fact(&self, names: &Names, expr: &Ref<Expr>) -> Option<(Vec<String>, Option<Value>)> {
        if let Expr::Call { fcn, params, .. } = expr.as_ref() {
            let [object, key, default] = params.as_slice() else { return None };
            let Expr::String { value: Value::String(key), .. } = key.as_ref() else { return None };
            let (Place::Input(mut path), true) = self.place(names, object)? else { return None };
            // Where the object itself is missing, the call is undefined; where it is no object, the interpreter complains.
            let there = path.iter().fold(self.around.least, |at, step| &at[step.as_str()]).as_object().is_ok();
            if !there || !self.is_builtin(names, fcn, "object.get") {
                return None;
            }
            path.push(key.to_string());
            return Some((path, Some(self.value(names, default).filter(ValueExt::is_known)?)));
        }
        match self.place(names, expr)? {
            (Place::Input(path), true) => Some((path, None)),
            _ => None,
        }
    }

    /// Whether a call means the interpreter's own function of that name.
    fn is_builtin(&self, names: &Names, function: &Ref<Expr>, name: &str) -> bool {
        let parts = steps(function);
        let Some(base) = parts.base.clone().filter(|_| parts.rest.is_empty()) else { return false };
        let own: Vec<String> = names.package.iter().cloned().chain([base.clone()]).collect();
        let hidden = names.bound.contains(&base) || names.imports.contains_key(&base);
        !hidden && is_builtin(name) && self.around.reach.is_data(&own) && parts.whole().join(".") == name
    }

    /// What a reference means, and whether all of it is fixed.
    fn place(&self, names: &Names, expr: &Ref<Expr>) -> Option<(Place, bool)> {
        let reference = steps(expr);
        let base = reference.base?;
        let whole = reference.rest.is_empty();
        let below_data = |path: Vec<String>| {
            let reach = self.around.reach;
            let place = match reach.is_data(&path) {
                true => {
                    let value = path.iter().fold(self.around.data, |at, step| &at[step.as_str()]).clone();
                    Place::Data(path, value)
                }
                false => Place::Rule(path),
            };
            Some((place, whole))
        };
        match base.as_str() {
            "input" => Some((Place::Input(reference.path), whole)),
            "data" if reference.path.is_empty() => None,
            "data" => below_data(reference.path),
            name if names.bound.contains(name) => None,
            name => {
                let own: Vec<String> = names.package.iter().cloned().chain([name.to_owned()]).collect();
                if !self.around.reach.is_data(&own) {
                    return Some((Place::Rule(own.into_iter().chain(reference.path).collect()), whole));
                }
                let (root, import) = names.imports.get(name)?.split_first()?;
                let path: Vec<String> = import.iter().cloned().chain(reference.path).collect();
                match root.as_str() {
                    "input" => Some((Place::Input(path), whole)),
                    "data" if !path.is_empty() => below_data(path),
                    _ => None,
                }
            }
        }
    }
}

/// The function and the list that has to hold anything for `count(list) > 0` to be so, if the function is `count`.
fn counted<'e>(lhs: &'e Ref<Expr>, op: &BoolOp, rhs: &Ref<Expr>) -> Option<(&'e Ref<Expr>, &'e Ref<Expr>)> {
    let (Expr::Call { fcn, params, .. }, Expr::Number { value, .. }) = (lhs.as_ref(), rhs.as_ref()) else {
        return None;
    };
    let any = matches!((op, value.as_u64().ok()?), (BoolOp::Gt, _) | (BoolOp::Ne, 0) | (BoolOp::Ge | BoolOp::Eq, 1..));
    params.first().filter(|_| any && params.len() == 1).map(|list| (fcn, list))
}

fn turned(op: &BoolOp) -> BoolOp {
    match op {
        BoolOp::Lt => BoolOp::Gt,
        BoolOp::Le => BoolOp::Ge,
        BoolOp::Eq => BoolOp::Eq,
        BoolOp::Ge => BoolOp::Le,
        BoolOp::Gt => BoolOp::Lt,
        BoolOp::Ne => BoolOp::Ne,
    }
}

fn said(expr: &Ref<Expr>) -> String {
    expr.span().text().chars().take(80).collect()
}

trait ValueExt {
    fn is_known(&self) -> bool;
}

impl ValueExt for Value {
    fn is_known(&self) -> bool {
        *self != Value::Undefined
    }
}
