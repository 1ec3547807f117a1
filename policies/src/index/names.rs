//! The names in a rule: what a reference is made of, what a module imports, what a rule binds.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, Module, Query, Ref, Rule, RuleHead};

/// A reference in its parts.
pub(crate) struct Steps {
    /// The name it starts from, if it starts from one.
    pub base: Option<String>,
    /// The fixed path behind it.
    pub path: Vec<String>,
    /// The indexes from the first that is not fixed.
    pub rest: Vec<Ref<Expr>>,
}

impl Steps {
    /// All of it, as far as it is fixed.
    pub fn whole(self) -> Vec<String> {
        self.base.into_iter().chain(self.path).collect()
    }
}

/// Takes a reference apart.
pub(crate) fn steps(expr: &Ref<Expr>) -> Steps {
    let mut steps: Vec<Result<String, Ref<Expr>>> = Vec::new();
    let mut at = expr.clone();
    let base = loop {
        let next = match at.as_ref() {
            Expr::RefDot { refr, field, .. } => {
                steps.push(Ok(field.0.text().to_owned()));
                refr.clone()
            }
            Expr::RefBrack { refr, index, .. } => {
                steps.push(match index.as_ref() {
                    Expr::String { value, .. } => {
                        value.as_string().map(|text| text.to_string()).map_err(|_| index.clone())
                    }
                    _ => Err(index.clone()),
                });
                refr.clone()
            }
            Expr::Var { span, .. } => break Some(span.text().to_owned()),
            _ => break None,
        };
        at = next;
    };
    let mut parts = Steps { base, path: Vec::new(), rest: Vec::new() };
    for step in steps.into_iter().rev() {
        match step {
            Ok(name) if parts.rest.is_empty() => parts.path.push(name),
            Ok(_) => {}
            Err(index) => parts.rest.push(index),
        }
    }
    parts
}

/// What a module imports, by the name that it goes by there.
pub(crate) fn imports(module: &Module) -> BTreeMap<String, Vec<String>> {
    let mut imports = BTreeMap::new();
    for import in &module.imports {
        let parts = steps(&import.refr);
        let Some(base) = parts.base.filter(|_| parts.rest.is_empty()) else { continue };
        let path: Vec<String> = [base].into_iter().chain(parts.path).collect();
        let alias = import.r#as.as_ref().map(|span| span.text().to_owned()).or_else(|| path.last().cloned());
        if let Some(alias) = alias.filter(|_| path.first().is_some_and(|root| root == "data" || root == "input")) {
            imports.insert(alias, path);
        }
    }
    imports
}

/// Every name that a rule may bind, wherever in it.
pub(crate) fn bound(rule: &Ref<Rule>) -> BTreeSet<String> {
    let mut names = Bound(BTreeSet::new());
    if let Rule::Spec { head, bodies, .. } = rule.as_ref() {
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                names.expr(refr);
                assign.iter().for_each(|assign| names.expr(&assign.value));
            }
            RuleHead::Set { refr, key, .. } => {
                names.expr(refr);
                key.iter().for_each(|key| names.expr(key));
            }
            RuleHead::Func { args, assign, .. } => {
                args.iter().for_each(|argument| names.pattern(argument));
                assign.iter().for_each(|assign| names.expr(&assign.value));
            }
        }
        for body in bodies {
            body.assign.iter().for_each(|assign| names.expr(&assign.value));
            names.query(&body.query);
        }
    }
    names.0
}

struct Bound(BTreeSet<String>);

impl Bound {
    fn query(&mut self, query: &Ref<Query>) {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { vars, .. } => self.0.extend(vars.iter().map(|name| name.text().to_owned())),
                Literal::SomeIn { key, value, collection, .. } => {
                    key.iter().for_each(|key| self.pattern(key));
                    self.pattern(value);
                    self.expr(collection);
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
                Literal::Every { key, value, domain, query, .. } => {
                    self.0.extend(key.iter().chain([value]).map(|name| name.text().to_owned()));
                    self.expr(domain);
                    self.query(query);
                }
            }
            statement.with_mods.iter().for_each(|with| self.expr(&with.r#as));
        }
    }

    /// What is bound by taking a value apart.
    fn pattern(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::Var { span, .. } => drop(self.0.insert(span.text().to_owned())),
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.pattern(item)),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.pattern(key);
                    self.pattern(value);
                }
            }
            _ => self.expr(expr),
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
            Expr::RefDot { refr, .. } => self.expr(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr);
                self.pattern(index);
            }
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
            // The last argument of a call may be bound to what comes out.
            Expr::Call { params, .. } => params.iter().for_each(|param| self.pattern(param)),
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::AssignExpr { lhs, rhs, .. } => {
                self.pattern(lhs);
                self.pattern(rhs);
            }
            Expr::BinExpr { lhs, rhs, .. } | Expr::BoolExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } => {
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
}
