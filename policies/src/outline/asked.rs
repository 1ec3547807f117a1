//! Which facts a rule asks for, and how: below `input` by name, or through a variable that stands for a part of it.

use std::collections::BTreeMap;

use regorus::unstable::{AssignOp, BoolOp, Expr, Literal, Module, Query, Ref, Rule, RuleHead};

use super::{Argument, argument, text};

/// One step down from `input`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Name(String),
    /// An index that is not fixed: any member.
    Any,
}

/// One fact that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub path: Vec<Step>,
    pub line: u32,
    pub column: u32,
    /// It stands in a `not`, or has a value to fall back on: when it is missing, something still holds.
    pub covered: bool,
    /// It is compared by `!=`, `<`, `<=`, `>` or `>=`: when it is missing, the body does not hold.
    pub compared: Option<&'static str>,
}

/// What each rule of a module asks for, in the order of its rules.
pub(crate) fn of(module: &Module) -> Vec<Vec<Asked>> {
    let mut known = BTreeMap::new();
    for import in &module.imports {
        let mut walk = Walk { known: &BTreeMap::from([("input".to_owned(), Vec::new())]), asked: Vec::new() };
        let Some(path) = walk.steps(&import.refr) else { continue };
        let alias = import.r#as.as_ref().map(|span| span.text().to_owned());
        let last = path.last().and_then(|step| match step {
            Step::Name(name) => Some(name.clone()),
            Step::Any => None,
        });
        if let Some(alias) = alias.or(last) {
            known.insert(alias, path);
        }
        walk.asked.clear();
    }
    known.insert("input".to_owned(), Vec::new());
    module.policy.iter().map(|rule| rule_of(rule, &known)).collect()
}

fn rule_of(rule: &Rule, imported: &BTreeMap<String, Vec<Step>>) -> Vec<Asked> {
    let Rule::Spec { head, bodies, .. } = rule else { return Vec::new() };
    let mut known = imported.clone();
    if let RuleHead::Func { args, .. } = head {
        for arg in args {
            if let Expr::Var { span, .. } = arg.as_ref() {
                known.remove(span.text()); // an argument of that name is something else
            }
        }
    }
    bodies.iter().for_each(|body| learn(&body.query, &mut known));
    let mut walk = Walk { known: &known, asked: Vec::new() };
    match head {
        RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
            assign.iter().for_each(|assign| walk.expr(&assign.value, false, None));
        }
        RuleHead::Set { key, .. } => key.iter().for_each(|key| walk.expr(key, false, None)),
    }
    for body in bodies {
        body.assign.iter().for_each(|assign| walk.expr(&assign.value, false, None));
        walk.query(&body.query, false);
    }
    walk.asked
}

/// Variables that stand for a part of the input: `some it in input.candidates`, `who := input.caller`.
fn learn(query: &Ref<Query>, known: &mut BTreeMap<String, Vec<Step>>) {
    for statement in &query.stmts {
        let found = match &statement.literal {
            Literal::SomeIn { value, collection, .. } => {
                named(value).zip(steps(collection, known)).map(|(name, mut path)| {
                    path.push(Step::Any);
                    (name, path)
                })
            }
            Literal::Expr { expr, .. } => match expr.as_ref() {
                Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => named(lhs).zip(steps(rhs, known)),
                _ => None,
            },
            Literal::Every { value, domain, query, .. } => {
                let found = steps(domain, known).map(|mut path| {
                    path.push(Step::Any);
                    (value.text().to_owned(), path)
                });
                known.extend(found);
                learn(query, known);
                None
            }
            _ => None,
        };
        known.extend(found.filter(|(name, _)| name != "_" && name != "input"));
    }
}

fn named(expr: &Ref<Expr>) -> Option<String> {
    match expr.as_ref() {
        Expr::Var { span, .. } => Some(span.text().to_owned()),
        _ => None,
    }
}

/// The path that a reference means, where it begins with something known.
fn steps(expr: &Ref<Expr>, known: &BTreeMap<String, Vec<Step>>) -> Option<Vec<Step>> {
    match expr.as_ref() {
        Expr::Var { span, .. } => known.get(span.text()).cloned(),
        Expr::RefDot { refr, field, .. } => {
            let mut path = steps(refr, known)?;
            path.push(Step::Name(text(&field.1).unwrap_or_else(|| field.0.text().to_owned())));
            Some(path)
        }
        Expr::RefBrack { refr, index, .. } => {
            let mut path = steps(refr, known)?;
            path.push(match argument(index) {
                Argument::Text(name) => Step::Name(name),
                _ => Step::Any,
            });
            Some(path)
        }
        _ => None,
    }
}

struct Walk<'a> {
    known: &'a BTreeMap<String, Vec<Step>>,
    asked: Vec<Asked>,
}

impl Walk<'_> {
    fn steps(&mut self, expr: &Ref<Expr>) -> Option<Vec<Step>> {
        steps(expr, self.known)
    }

    fn query(&mut self, query: &Ref<Query>, covered: bool) {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { collection, .. } => self.expr(collection, covered, None),
                Literal::Expr { expr, .. } => self.expr(expr, covered, None),
                Literal::NotExpr { expr, .. } => self.expr(expr, true, None),
                Literal::Every { domain, query, .. } => {
                    self.expr(domain, covered, None);
                    self.query(query, covered);
                }
            }
            statement.with_mods.iter().for_each(|with| self.expr(&with.r#as, covered, None));
        }
    }

    fn tell(&mut self, path: Vec<Step>, expr: &Ref<Expr>, covered: bool, compared: Option<&'static str>) {
        let mut at = expr.clone();
        while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = at.clone().as_ref() {
            at = refr.clone();
        }
        let (line, column) = (at.span().line, at.span().col);
        self.asked.push(Asked { path, line, column, covered, compared });
    }

    fn expr(&mut self, expr: &Ref<Expr>, covered: bool, compared: Option<&'static str>) {
        if let Some(path) = self.steps(expr) {
            self.tell(path, expr, covered, compared);
            self.indexes(expr, covered);
            return;
        }
        let all = |walk: &mut Self, items: &[&Ref<Expr>]| items.iter().for_each(|it| walk.expr(it, covered, None));
        match expr.as_ref() {
            Expr::RefDot { refr, .. } => self.expr(refr, covered, None),
            Expr::RefBrack { refr, index, .. } => all(self, &[refr, index]),
            Expr::Array { items, .. } | Expr::Set { items, .. } => all(self, &items.iter().collect::<Vec<_>>()),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| all(self, &[key, value])),
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.nested(&[term], query, covered);
            }
            Expr::ObjectCompr { key, value, query, .. } => self.nested(&[key, value], query, covered),
            Expr::Call { fcn, params, .. } => self.call(fcn, params, covered),
            Expr::UnaryExpr { expr, .. } => self.expr(expr, covered, None),
            Expr::BoolExpr { op, lhs, rhs, .. } => {
                let compared = match op {
                    BoolOp::Ne => Some("!="),
                    BoolOp::Lt => Some("<"),
                    BoolOp::Le => Some("<="),
                    BoolOp::Gt => Some(">"),
                    BoolOp::Ge => Some(">="),
                    BoolOp::Eq => None,
                };
                self.expr(lhs, covered, compared);
                self.expr(rhs, covered, compared);
            }
            Expr::BinExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } | Expr::AssignExpr { lhs, rhs, .. } => {
                all(self, &[lhs, rhs]);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().for_each(|key| self.expr(key, covered, None));
                all(self, &[value, collection]);
            }
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
        }
    }

    /// A comprehension has variables of its own; what is missing in it leaves it empty, and the rule goes on.
    fn nested(&mut self, terms: &[&Ref<Expr>], query: &Ref<Query>, covered: bool) {
        let mut known = self.known.clone();
        learn(query, &mut known);
        let mut walk = Walk { known: &known, asked: Vec::new() };
        terms.iter().for_each(|term| walk.expr(term, covered, None));
        walk.query(query, covered);
        self.asked.append(&mut walk.asked);
    }

    fn call(&mut self, function: &Ref<Expr>, arguments: &[Ref<Expr>], covered: bool) {
        if let ([object, name, _default], Expr::RefDot { field, .. }) = (arguments, function.as_ref())
            && field.0.text() == "get"
            && let Some(mut path) = self.steps(object)
        {
            let names: Option<Vec<Step>> = match (argument(name), name.as_ref()) {
                (Argument::Text(name), _) => Some(vec![Step::Name(name)]),
                (_, Expr::Array { items, .. }) => {
                    let step = |item: &Ref<Expr>| match argument(item) {
                        Argument::Text(name) => Step::Name(name),
                        _ => Step::Any,
                    };
                    Some(items.iter().map(step).collect())
                }
                _ => None,
            };
            path.extend(names.unwrap_or_else(|| vec![Step::Any]));
            self.tell(path, object, true, None);
            arguments[1..].iter().for_each(|argument| self.expr(argument, covered, None));
            return;
        }
        arguments.iter().for_each(|argument| self.expr(argument, covered, None));
    }

    /// What stands in brackets along a path.
    fn indexes(&mut self, expr: &Ref<Expr>, covered: bool) {
        match expr.as_ref() {
            Expr::RefDot { refr, .. } => self.indexes(refr, covered),
            Expr::RefBrack { refr, index, .. } => {
                self.indexes(refr, covered);
                self.expr(index, covered, None);
            }
            _ => {}
        }
    }
}
