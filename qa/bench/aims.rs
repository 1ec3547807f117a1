//! What was aimed at, and what was measured: the last table.

/// The rows so far.
#[derive(Default)]
pub struct Aims(Vec<String>);

impl Aims {
    /// A row; bold where the aim was missed.
    pub fn judge(&mut self, aim: &str, measured: &str, met: bool) {
        let mark = if met { "" } else { "**" };
        self.0.push(format!("| {aim} | {mark}{measured}{mark} |"));
    }

    /// A row without a measurement, and why.
    pub fn missing(&mut self, aim: &str, why: &str) {
        self.0.push(format!("| {aim} | not measured: {why} |"));
    }

    pub fn print(&self) {
        if self.0.is_empty() {
            return;
        }
        println!("## Against the aims\n\n| aim | measured |\n|---|---|");
        for row in &self.0 {
            println!("{row}");
        }
        println!();
    }
}
