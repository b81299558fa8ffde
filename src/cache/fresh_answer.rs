//! Labels from fresh answers: whether a candidate's would have been right, now that the provider's is here.

use std::sync::Arc;

use super::cache::Cache;
use super::decision::DecisionId;
use super::gist::answer_text;
use super::judge::{Judge, Pair};
use super::learning::{LabelContext, Learning};
use super::setup::Setup;
use crate::decide::text::Parsed;
use crate::decide::{
    self, AnswerClass, AnsweredQuery, Assessment, CandidateFeatures, LabelSource, Likeness, ParsedPrompt, Query,
};
use crate::embed::{Cosine, Embedder, Embedding, Prefix};
use crate::prompt::Question;
use crate::store::{Answer, Attributes, CacheKey, EntryId, ScopeKey, Store, StoreError, TextHash, Timestamp};

/// Long answers whose vectors are at least this near say the same, and at most that near don't; between, nobody knows.
const SAME_MEANING: f32 = 0.85;
const OTHER_MEANING: f32 = 0.6;

/// A fresh answer, from which labels are made.
pub(super) struct Fresh<'a> {
    pub(super) entry: EntryId,
    pub(super) scope: ScopeKey,
    pub(super) text: TextHash,
    pub(super) prompt: &'a str,
    pub(super) answer: &'a Answer,
    /// The prompt's vector, made of all that the prompt says; where it is stored so that near prompts find it.
    pub(super) vector: Option<&'a Embedding>,
}

impl Cache {
    /// A fresh answer was stored: the decision before it learns whether its candidates would have been right.
    pub(super) fn learn_from(&self, fresh: &Fresh<'_>) {
        self.learning.renewed(&fresh.entry);
        let setup = self.setup();
        if setup.policy.params().is_none() {
            return;
        }
        let known = fresh.vector.map(|vector| (self.prompts.of(fresh.entry, fresh.prompt), vector));
        let answered = self.learning.awaited.lock().take((fresh.scope, fresh.text));
        let Some((id, assessment)) = answered else { return };
        let text = answer_text(fresh.answer);
        let (class, is_literal) = (AnswerClass::of(text), decide::is_literal(text));
        let likeness = |evidence: &CandidateFeatures| match evidence.answer == class {
            true => Likeness::Same,
            false if is_literal && evidence.is_literal => Likeness::Different,
            false => Likeness::Unclear,
        };
        let likenesses: Vec<Likeness> = assessment.candidates.iter().map(likeness).collect();
        if !likenesses.contains(&Likeness::Unclear) {
            let right: Vec<_> = likenesses.iter().map(|likeness| Some(*likeness == Likeness::Same)).collect();
            let asked = known.map(|(known, vector)| (as_asked(fresh.prompt, &known), vector));
            let context =
                LabelContext { source: LabelSource::FreshAnswer, answered: with_answer(asked.as_ref(), class) };
            self.learning.learn((id, &assessment), &right, context, &setup);
            return;
        }
        let comparison = Comparison {
            id,
            assessment,
            likenesses,
            entry: fresh.entry,
            prompt: fresh.prompt.to_owned(),
            answer: text.to_owned(),
            class,
            known: known.map(|(known, vector)| (known, vector.clone())),
            judge: self.judge.get().cloned(),
            store: Arc::clone(&self.store),
            key: self.key,
            learning: Arc::clone(&self.learning),
            setup,
        };
        self.learning.tasks.spawn(comparison.run());
    }

    /// The provider's answer to a question that isn't stored: the decision before it learns from it all the same.
    pub fn answered(&self, question: &Question, answer: &Answer, attributes: &Attributes) {
        let scope = ScopeKey::new(self.key, question.fingerprint.bytes());
        let text = TextHash::of(&question.text);
        self.learn_from(&Fresh {
            entry: EntryId::new(scope, text, attributes),
            scope,
            text,
            prompt: &question.text,
            answer,
            vector: None,
        });
    }
}

/// Long answers that have to be compared by what they mean, behind the reply.
struct Comparison {
    id: DecisionId,
    assessment: Arc<Assessment>,
    likenesses: Vec<Likeness>,
    entry: EntryId,
    prompt: String,
    answer: String,
    class: AnswerClass,
    /// What the prompt says and where it lies, if it is stored.
    known: Option<(Arc<Parsed>, Embedding)>,
    judge: Option<Arc<dyn Judge>>,
    store: Arc<dyn Store>,
    key: CacheKey,
    learning: Arc<Learning>,
    setup: Arc<Setup>,
}

impl Comparison {
    async fn run(self) {
        let mut right = Vec::with_capacity(self.likenesses.len());
        let mut source = LabelSource::Meaning;
        for (likeness, evidence) in self.likenesses.iter().zip(&self.assessment.candidates) {
            right.push(match likeness {
                Likeness::Same => Some(true),
                Likeness::Different => Some(false),
                // What can't be found out is no label.
                Likeness::Unclear => self.compare(evidence.entry).await.ok().flatten().map(|(right, from)| {
                    if from == LabelSource::Judge {
                        source = from;
                    }
                    right
                }),
            });
        }
        if let Some(same) = right.iter().position(|right| *right == Some(true)) {
            let class = self.assessment.candidates[same].answer;
            self.learning.join(self.entry, class);
        }
        if right.iter().any(Option::is_some) {
            let asked = self.known.as_ref().map(|(known, vector)| (as_asked(&self.prompt, known), vector));
            let context = LabelContext { source, answered: with_answer(asked.as_ref(), self.class) };
            self.learning.learn((self.id, &self.assessment), &right, context, &self.setup);
        }
    }

    /// Whether the candidate's answer says the same, and who says so. A judge is asked where the vectors of the two don't tell.
    async fn compare(&self, candidate: EntryId) -> Result<Option<(bool, LabelSource)>, StoreError> {
        let Some(entry) = self.store.get(self.key, candidate, Timestamp::now()).await? else { return Ok(None) };
        let stored = answer_text(&entry.answer);
        let by_meaning = match decide::compare(&self.answer, stored) {
            Likeness::Same => Some(true),
            Likeness::Different => Some(false),
            Likeness::Unclear => same_meaning(&self.setup.embedder, &self.answer, stored).await,
        };
        let Some(judge) = self.judge.as_ref().filter(|_| by_meaning.is_none()) else {
            return Ok(by_meaning.map(|right| (right, LabelSource::Meaning)));
        };
        let judged = judge.agree(Pair { question: &self.prompt, fresh: &self.answer, stored }).await;
        Ok(judged.map(|right| (right, LabelSource::Judge)))
    }
}

fn as_asked<'t>(text: &'t str, parsed: &Parsed) -> ParsedPrompt<'t> {
    ParsedPrompt::parsed(text, parsed.clone())
}

/// What a prompt says and where it lies, with its fresh answer.
fn with_answer<'a>(
    asked: Option<&'a (ParsedPrompt<'a>, &'a Embedding)>,
    answer: AnswerClass,
) -> Option<AnsweredQuery<'a>> {
    asked.map(|(prompt, vector)| AnsweredQuery { query: Query::new(prompt, vector), answer })
}

/// Whether two answers say the same, by the cosine of their vectors. None where that doesn't tell, or nobody has time.
async fn same_meaning(embedder: &Embedder, a: &str, b: &str) -> Option<bool> {
    let (a, b) = tokio::join!(embedder.embed(a, Prefix::Query), embedder.embed(b, Prefix::Query));
    let cosine: Cosine = a.ok()?.vector.cosine(&b.ok()?.vector);
    match cosine.get() {
        near if near >= SAME_MEANING => Some(true),
        far if far <= OTHER_MEANING => Some(false),
        _ => None,
    }
}
