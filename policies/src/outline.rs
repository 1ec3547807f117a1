//! What the checks need to know of a module: its package, its rules, what each refers to and calls.
//!
//! A reading of regorus's syntax tree, which is not a stable face: the version is pinned, and this is its only reader.
//! Names are read generously: a local variable that has a rule's name counts as a reference to it.

pub(crate) mod asked;

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{Expr, Literal, Module, Query, Ref, Rule, RuleAssign, RuleHead};

/// Paths below `data`, and the lines that read them.
type Reads = BTreeSet<(Vec<String>, u32)>;

/// One module.
pub(crate) struct Outline {
    /// `["alfred", "rules", "models"]`
    pub package: Vec<String>,
    pub line: u32,
    pub column: u32,
    /// What it imports, and the line.
    pub imports: Vec<(Vec<String>, u32)>,
    pub rules: Vec<RuleOutline>,
}

/// How a rule is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `name := …`
    #[default]
    Value,
    /// `name contains …`
    Set,
    /// `name(…)`, and with how many arguments.
    Function(usize),
    /// `default name := …`
    Default,
}

/// One rule, or one of the parts that a rule is written in.
#[derive(Default)]
pub(crate) struct RuleOutline {
    /// The whole path, as far as it is fixed.
    pub path: Vec<String>,
    pub line: u32,
    pub column: u32,
    /// `name contains …`
    pub is_set: bool,
    pub kind: Kind,
    /// The literal that it always is, where it has no condition.
    pub constant: Option<String>,
    /// The first line whose literal member of a set has a text that is empty.
    pub silent: Option<u32>,
    /// Paths below `data` that it may read, as far as they are fixed, and the line.
    pub reads: Reads,
    /// Paths below `input` that it may read, as far as they are fixed.
    pub inputs: BTreeSet<Vec<String>>,
    pub calls: Vec<CallOutline>,
    /// The line of a `with`.
    pub with: Option<u32>,
    /// What stands in place of what, by a `with`: the path replaced, the paths that replace it.
    pub mocks: Vec<(Vec<String>, Reads)>,
    /// What stands behind `contains` would read these, if a rule has such a path.
    pub added: Reads,
    /// The line of a reference or a call to a function in what `contains` adds.
    pub loose_head: Option<u32>,
}

/// A call by name.
pub(crate) struct CallOutline {
    /// As it is written, imports replaced: `numbers.range`, `data.acme.lib.f`.
    pub name: String,
    /// The paths below `data` that a function of that name would have.
    pub paths: Vec<Vec<String>>,
    pub line: u32,
    pub column: u32,
    pub arguments: Vec<Argument>,
}

/// An argument, where it is a literal.
pub(crate) enum Argument {
    Text(String),
    Number(i64),
    Other,
}

impl Outline {
    pub fn of(module: &Module) -> Outline {
        let package = fixed(&module.package.refr).unwrap_or_default();
        let mut imports = BTreeMap::new();
        for import in &module.imports {
            let Some(path) = fixed(&import.refr) else {
                continue;
            };
            let alias = import.r#as.as_ref().map(|span| span.text().to_owned()).or_else(|| path.last().cloned());
            if let Some(alias) = alias {
                imports.insert(alias, path);
            }
        }
        let rules = module.policy.iter().map(|rule| Reader::read(&package, &imports, rule)).collect();
        let span = &module.package.span;
        let imports =
            module.imports.iter().filter_map(|import| Some((fixed(&import.refr)?, import.span.line))).collect();
        Outline { line: span.line, column: span.col, package, imports, rules }
    }
}

struct Reader<'a> {
    package: &'a [String],
    imports: &'a BTreeMap<String, Vec<String>>,
    rule: RuleOutline,
}

impl<'a> Reader<'a> {
    fn read(package: &'a [String], imports: &'a BTreeMap<String, Vec<String>>, rule: &Rule) -> RuleOutline {
        let span = rule.span();
        let rule_outline = RuleOutline { line: span.line, column: span.col, ..RuleOutline::default() };
        let mut reader = Reader { package, imports, rule: rule_outline };
        match rule {
            Rule::Spec { head, bodies, .. } => {
                reader.head(head);
                let unconditional = bodies.iter().all(|body| body.query.stmts.is_empty() && !body.is_else);
                if let (RuleHead::Compr { assign, .. }, true) = (head, unconditional) {
                    let value = assign.as_ref().map_or(Some("true".into()), |assign| literal(&assign.value));
                    reader.rule.constant = value;
                }
                for body in bodies {
                    reader.assign(body.assign.as_ref());
                    reader.query(&body.query);
                }
            }
            Rule::Default { refr, value, .. } => {
                reader.name(refr);
                reader.rule.kind = Kind::Default;
                reader.expr(value);
            }
        }
        reader.rule
    }

    fn head(&mut self, head: &RuleHead) {
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                self.name(refr);
                self.assign(assign.as_ref());
            }
            RuleHead::Set { refr, key, .. } => {
                self.name(refr);
                self.rule.is_set = true;
                self.rule.kind = Kind::Set;
                if let Some(key) = key {
                    self.rule.silent = silent(key);
                    let calls = self.rule.calls.len();
                    let before = std::mem::take(&mut self.rule.reads);
                    self.expr(key);
                    self.rule.added = std::mem::replace(&mut self.rule.reads, before);
                    self.rule.reads.extend(self.rule.added.iter().cloned());
                    let calling = self.rule.calls[calls..].iter().any(|call| !is_builtin(&call.name));
                    if holds_reference(key) || calling {
                        self.rule.loose_head = Some(key.span().line);
                    }
                }
            }
            RuleHead::Func { refr, args, assign, .. } => {
                self.name(refr);
                self.rule.kind = Kind::Function(args.len());
                args.iter().for_each(|argument| self.expr(argument));
                self.assign(assign.as_ref());
            }
        }
    }

    fn assign(&mut self, assign: Option<&RuleAssign>) {
        if let Some(assign) = assign {
            self.expr(&assign.value);
        }
    }

    /// The rule's own name; what is not fixed in it is read like any expression.
    fn name(&mut self, refr: &Ref<Expr>) {
        let (base, path, rest) = parts(refr);
        self.rule.path = self.package.to_vec();
        if let Expr::Var { span, .. } = base.as_ref() {
            self.rule.path.push(span.text().to_owned());
        }
        self.rule.path.extend(path);
        rest.iter().for_each(|index| self.expr(index));
    }

    fn query(&mut self, query: &Ref<Query>) {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().for_each(|key| self.expr(key));
                    self.expr(value);
                    self.expr(collection);
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
                Literal::Every { domain, query, .. } => {
                    self.expr(domain);
                    self.query(query);
                }
            }
            for with in &statement.with_mods {
                self.rule.with.get_or_insert(with.span.line);
                let before = std::mem::take(&mut self.rule.reads);
                self.expr(&with.r#as);
                let replacing = std::mem::replace(&mut self.rule.reads, before);
                self.rule.reads.extend(replacing.iter().cloned());
                let (base, path, _) = parts(&with.refr);
                if let Expr::Var { span, .. } = base.as_ref() {
                    for target in self.resolve(span.text(), &path) {
                        self.rule.mocks.push((target, replacing.clone()));
                    }
                }
            }
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.expr(item)),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.expr(key);
                self.expr(value);
                self.query(query);
            }
            Expr::Call { fcn, params, .. } => self.call(fcn, params),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().for_each(|key| self.expr(key));
                self.expr(value);
                self.expr(collection);
            }
        }
    }

    fn reference(&mut self, expr: &Ref<Expr>) {
        let (base, path, rest) = parts(expr);
        match base.as_ref() {
            Expr::Var { span, .. } => {
                let line = span.line;
                self.rule.inputs.extend(self.below_input(span.text(), &path));
                for path in self.resolve(span.text(), &path) {
                    self.rule.reads.insert((path, line));
                }
            }
            _ => self.expr(&base),
        }
        rest.iter().for_each(|index| self.expr(index));
    }

    fn call(&mut self, function: &Ref<Expr>, arguments: &[Ref<Expr>]) {
        let (base, path, rest) = parts(function);
        let Expr::Var { span, .. } = base.as_ref() else {
            self.expr(&base);
            return;
        };
        let paths = self.resolve(span.text(), &path);
        for path in &paths {
            self.rule.reads.insert((path.clone(), span.line));
        }
        let mut name = self.imports.get(span.text()).cloned().unwrap_or_else(|| vec![span.text().to_owned()]);
        name.extend(path);
        self.rule.calls.push(CallOutline {
            name: name.join("."),
            paths,
            line: span.line,
            column: span.col,
            arguments: arguments.iter().map(argument).collect(),
        });
        rest.iter().for_each(|index| self.expr(index));
        if let Some(member) = self.looked_up(&name.join("."), arguments) {
            self.rule.inputs.insert(member);
            arguments[2..].iter().for_each(|argument| self.expr(argument));
        } else {
            arguments.iter().for_each(|argument| self.expr(argument));
        }
    }

    /// `object.get(input.caller, "team", "")` reads one member, though the whole object stands there.
    fn looked_up(&self, function: &str, arguments: &[Ref<Expr>]) -> Option<Vec<String>> {
        let [object, name, _default] = arguments else { return None };
        let (base, path, rest) = parts(object);
        let (Expr::Var { span, .. }, Argument::Text(name)) = (base.as_ref(), argument(name)) else { return None };
        let member: Vec<String> = path.into_iter().chain([name]).collect();
        (function == "object.get" && rest.is_empty()).then(|| self.below_input(span.text(), &member)).flatten()
    }

    /// The path below `input` that a name means, if it means one.
    fn below_input(&self, base: &str, path: &[String]) -> Option<Vec<String>> {
        if base == "input" {
            return Some(path.to_vec());
        }
        let (root, rest) = self.imports.get(base)?.split_first()?;
        (root == "input").then(|| rest.iter().chain(path).cloned().collect())
    }

    /// The paths below `data` that a name may mean: none for the input.
    fn resolve(&self, base: &str, path: &[String]) -> Vec<Vec<String>> {
        let below_data = |full: Vec<String>| match full.split_first() {
            Some((root, rest)) if root == "data" => Some(rest.to_vec()),
            _ => None,
        };
        if base == "data" {
            return vec![path.to_vec()];
        }
        if base == "input" {
            return Vec::new();
        }
        let own = self.package.iter().cloned().chain([base.to_owned()]).chain(path.iter().cloned()).collect();
        let imported = self
            .imports
            .get(base)
            .and_then(|import| below_data(import.iter().cloned().chain(path.iter().cloned()).collect()));
        [own].into_iter().chain(imported).collect()
    }
}

/// What a reference starts from, the fixed path behind it, and the indexes from the first that is not fixed.
fn parts(expr: &Ref<Expr>) -> (Ref<Expr>, Vec<String>, Vec<Ref<Expr>>) {
    enum Step {
        Fixed(String),
        Open(Ref<Expr>),
    }
    let mut steps = Vec::new();
    let mut at = expr.clone();
    loop {
        let next = match at.as_ref() {
            Expr::RefDot { refr, field, .. } => {
                steps.push(Step::Fixed(text(&field.1).unwrap_or_else(|| field.0.text().to_owned())));
                refr.clone()
            }
            Expr::RefBrack { refr, index, .. } => {
                steps.push(match index.as_ref() {
                    Expr::String { value, .. } | Expr::RawString { value, .. } => {
                        text(value).map_or_else(|| Step::Open(index.clone()), Step::Fixed)
                    }
                    _ => Step::Open(index.clone()),
                });
                refr.clone()
            }
            _ => break,
        };
        at = next;
    }
    let mut path = Vec::new();
    let mut rest = Vec::new();
    for step in steps.into_iter().rev() {
        match step {
            Step::Fixed(name) if rest.is_empty() => path.push(name),
            Step::Fixed(_) => {}
            Step::Open(index) => rest.push(index),
        }
    }
    (at, path, rest)
}

/// A reference that is fixed throughout.
fn fixed(expr: &Ref<Expr>) -> Option<Vec<String>> {
    let (base, path, rest) = parts(expr);
    let Expr::Var { span, .. } = base.as_ref() else {
        return None;
    };
    rest.is_empty().then(|| [span.text().to_owned()].into_iter().chain(path).collect())
}

fn text(value: &Value) -> Option<String> {
    value.as_string().ok().map(|text| text.to_string())
}

fn argument(expr: &Ref<Expr>) -> Argument {
    match expr.as_ref() {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            text(value).map_or(Argument::Other, Argument::Text)
        }
        Expr::Number { value, .. } => value.as_i64().map_or(Argument::Other, Argument::Number),
        _ => Argument::Other,
    }
}

/// A scalar as it is written.
fn literal(expr: &Ref<Expr>) -> Option<String> {
    match expr.as_ref() {
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Number { value, .. }
        | Expr::Bool { value, .. }
        | Expr::Null { value, .. } => Some(value.to_string()),
        _ => None,
    }
}

/// The line of an object whose `message` is an empty text.
fn silent(expr: &Ref<Expr>) -> Option<u32> {
    let Expr::Object { fields, .. } = expr.as_ref() else { return None };
    let told = |key: &Ref<Expr>, value: &Ref<Expr>| match (argument(key), argument(value)) {
        (Argument::Text(key), Argument::Text(value)) => key != "message" || !value.trim().is_empty(),
        _ => true,
    };
    fields.iter().find(|(_, key, value)| !told(key, value)).map(|(span, ..)| span.line)
}

/// Whether an expression reads something that may be undefined.
fn holds_reference(expr: &Ref<Expr>) -> bool {
    match expr.as_ref() {
        Expr::RefDot { .. } | Expr::RefBrack { .. } => true,
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().any(holds_reference),
        Expr::Object { fields, .. } => {
            fields.iter().any(|(_, key, value)| holds_reference(key) || holds_reference(value))
        }
        Expr::Call { params, .. } => params.iter().any(holds_reference),
        Expr::UnaryExpr { expr, .. } => holds_reference(expr),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => holds_reference(lhs) || holds_reference(rhs),
        Expr::Membership { value, collection, .. } => holds_reference(value) || holds_reference(collection),
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => false,
    }
}

/// The names of the interpreter's own functions.
pub(crate) fn builtins() -> impl Iterator<Item = &'static str> {
    regorus::unstable::BUILTINS.keys().copied()
}

/// Whether the interpreter itself has a function of that name.
pub(crate) fn is_builtin(name: &str) -> bool {
    name == "print" || regorus::unstable::BUILTINS.contains_key(name)
}
