//! What a model can beside conversing in text, and the kinds of content that go in and come out.

use serde::Deserialize;

use crate::fleet::Target;
use crate::request::Task;

/// What a model can beside text, images and tools. What is not said is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// It hears.
    Audio,
    /// It reads PDFs.
    Documents,
    /// It sees films.
    Video,
    /// It thinks before it answers.
    Reasoning,
    /// Its answers keep to a JSON schema.
    JsonSchema,
    /// It paints, in a conversation.
    Paints,
    /// It speaks, in a conversation.
    Speaks,
}

impl Target {
    /// Whether it is known to be able to do this.
    pub fn can(&self, ability: Ability) -> bool {
        self.can.contains(&ability)
    }

    /// What it takes, in the words of the usual lists of models.
    pub fn input_modalities(&self) -> Vec<&'static str> {
        let only = |task: Task| self.tasks == [task];
        let hears_only = only(Task::Transcriptions);
        [
            ("text", !hears_only),
            ("image", self.images == Some(true)),
            ("file", self.can(Ability::Documents)),
            ("audio", hears_only || self.can(Ability::Audio)),
            ("video", self.can(Ability::Video)),
        ]
        .into_iter()
        .filter_map(|(name, takes)| takes.then_some(name))
        .collect()
    }

    /// What it gives.
    pub fn output_modalities(&self) -> Vec<&'static str> {
        let does = |task: Task| self.tasks.contains(&task);
        let writes = self.tasks.is_empty()
            || [Task::Chat, Task::Completions, Task::Transcriptions, Task::Moderations].into_iter().any(does);
        [
            ("text", writes),
            ("image", does(Task::Images) || self.can(Ability::Paints)),
            ("audio", does(Task::Speech) || self.can(Ability::Speaks)),
            ("embeddings", does(Task::Embeddings)),
            ("rerank", does(Task::Rerank)),
        ]
        .into_iter()
        .filter_map(|(name, gives)| gives.then_some(name))
        .collect()
    }
}
