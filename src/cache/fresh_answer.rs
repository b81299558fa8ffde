//! Labels from fresh answers: whether a candidate's would have been right, now that the provider's is here.

use std::sync::Arc;

use super::cache::Cache;
use super::decision::DecisionId;
use super::gist::answer_text;
use super::judge::{Judge, Pair};
use super::learning::{Finding, Learning};
use super::setup::Setup;
use crate::decide::text::Parsed;
use crate::decide::{
    self, AnswerClass, AnsweredQuery, Assessment, CandidateFeatures, LabelSource, ParsedPrompt, Query,
};
use crate::embed::{Embedder, Embedding, Prefix};
use crate::prompt::Question;
use crate::store::{Answer, Attributes, CacheKey, EntryId, ScopeKey, Store, TextHash, Timestamp};

/// Candidates about which a judge is asked at most, of one answer. Arbitrary.
const MAX_ASKED: usize = 3;
/// Where one candidate was right, others are asked about only that are as probably right: they may be of the same class. Arbitrary.
const PROBABLE: f64 = 0.5;

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
        let find = |candidate: &CandidateFeatures| {
            let finding = |right, source| Some(Finding { right, source });
            match self.learning.agree(candidate.answer, class) {
                _ if candidate.answer == class => finding(true, LabelSource::FreshAnswer),
                Some(right) => finding(right, LabelSource::Judge),
                None if is_literal && candidate.is_literal => finding(false, LabelSource::FreshAnswer),
                None => None,
            }
        };
        let found: Vec<_> = assessment.candidates.iter().map(find).collect();
        if found.iter().all(Option::is_some) {
            let asked = known.map(|(known, vector)| (as_asked(fresh.prompt, &known), vector));
            self.learning.learn((id, &assessment), &found, with_answer(asked.as_ref(), class), &setup);
            return;
        }
        let comparison = Comparison {
            id,
            assessment,
            found,
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
    /// What is known already.
    found: Vec<Option<Finding>>,
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
    async fn run(mut self) {
        let count = self.assessment.candidates.len();
        // The one that would have been served first: what is found of it says most.
        let order =
            self.assessment.best.into_iter().chain((0..count).filter(|place| Some(*place) != self.assessment.best));
        let mut asked = 0;
        for place in order {
            if self.found[place].is_some() {
                continue;
            }
            let CandidateFeatures { entry, answer, .. } = self.assessment.candidates[place];
            // By what was found of the others meanwhile.
            if let Some(right) = self.learning.agree(answer, self.class) {
                self.found[place] = Some(Finding { right, source: LabelSource::Judge });
                continue;
            }
            // What can't be found out is no label.
            let Ok(Some(stored)) = self.store.get(self.key, entry, Timestamp::now()).await else { continue };
            let stored = answer_text(&stored.answer);
            let predicted = self.assessment.raw.get(place).copied().unwrap_or(0.5);
            let is_answered = self.found.iter().flatten().any(|finding| finding.right);
            let may_ask = asked < MAX_ASKED && (!is_answered || predicted > PROBABLE);
            let stored_class = AnswerClass::of(stored);
            if surely_unlike(&self.setup.embedder, &self.answer, stored).await {
                self.found[place] = Some(Finding { right: false, source: LabelSource::Meaning });
            } else if let Some(judge) = self.judge.as_ref().filter(|_| may_ask) {
                asked += 1;
                let pair = Pair { question: &self.prompt, fresh: &self.answer, stored };
                let Some(right) = judge.agree(pair).await else { continue };
                let finding = Finding { right, source: LabelSource::Judge };
                self.found[place] = Some(finding);
                self.learning.relate((stored_class, self.class), finding, predicted, &self.setup);
            }
        }
        if self.found.iter().any(Option::is_some) {
            let asked = self.known.as_ref().map(|(known, vector)| (as_asked(&self.prompt, known), vector));
            let answered = with_answer(asked.as_ref(), self.class);
            self.learning.learn((self.id, &self.assessment), &self.found, answered, &self.setup);
        }
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

/// Whether two answers surely say different things. Where that can't be found out now, they don't.
async fn surely_unlike(embedder: &Embedder, a: &str, b: &str) -> bool {
    let (of_a, of_b) = tokio::join!(embedder.embed(a, Prefix::Query), embedder.embed(b, Prefix::Query));
    let (Ok(of_a), Ok(of_b)) = (of_a, of_b) else { return false };
    decide::surely_unlike(a, b, of_a.vector.cosine(&of_b.vector))
}
