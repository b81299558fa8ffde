//! What a cache has learned, and how it decides with it.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::audit::Audits;
use super::budget::{Account, ErrorBudget};
use super::centres::Centres;
use super::drift::{Change, Drift};
use super::evidence::{CENTRES, Evidence, FEATURES, Neighbour, WORDS, by_centres, by_words, nearest_of_each};
use super::logistic::{Example, Prior, fit, probability};
use super::metric::{Metric, Scatter};
use super::per_entry::Observations;
use super::query::{Answered, Query};
use super::records::Records;
use super::share::Sample;
use super::source::{Reliabilities, Source};
use crate::embed::Embedding;
use crate::store::EntryId;

/// Examples that the pool keeps.
const EXAMPLES: usize = 8000;
/// Labels before the first fit, and how many more before each further one: some, and a share of those there are, up to a number.
const FIRST_FIT: u64 = 60;
const MORE: u64 = 20;
const MORE_SHARE: u64 = 7;
const MOST_MORE: u64 = 400;
/// What the label of a candidate counts that wasn't the best of its request: errors are predicted of the best ones, and the others are
/// of another kind, wrong most often because the best was right.
const OTHERS: f64 = 0.1;
/// An audit stands for all the would-be hits that weren't audited, up to so many of them.
const STANDS_FOR: f64 = 3.0;
/// Labels that say the contrary of what is so: people differ about what is the same, and feedback lies.
const MISLABELLED: f64 = 0.03;
/// Predicted errors up to this multiple of the cut are like those that are served.
const NEARLY: f64 = 2.5;
/// Labels that what was learned from so few is twice as wrong as it says, about.
const YOUTH: f64 = 60.0;
/// Labels from before an alarm that still count after it: those that raised it.
const AFTER_ALARM: usize = 60;
/// From which probability on a wrong candidate was nearly taken: its answer's centre lies too near to such prompts.
const NEARLY_TAKEN: f64 = 0.1;
/// Different answers, nearest first, that are compared with each other: those that are weighed, and some rivals more.
const RIVALS: usize = 6;
/// Entries of which the per-entry rule keeps observations.
const OBSERVED: usize = 50_000;
/// Precision of the coefficients where no prior is shipped with the embedding model.
const WITHOUT_PRIOR: f64 = 2.0;

/// From whom an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quarantine {
    /// From near prompts: its answer was wrong for one of these.
    NearPrompts,
    /// From its own text too: its answer is wrong.
    Everybody,
}

/// What a model's vectors are worth before there are labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Beliefs {
    /// Of the coefficients.
    pub prior: Prior<FEATURES>,
    /// How prompts vary.
    pub metric: Option<Metric>,
    /// Whether they are worth serving by. Otherwise nothing near is served before the first fit.
    pub informed: bool,
}

impl Default for Beliefs {
    fn default() -> Self {
        Self { prior: Prior::ridge(WITHOUT_PRIOR), metric: None, informed: false }
    }
}

/// How a learned rule is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Wrong answers ÷ requests at most.
    pub budget: ErrorBudget,
    /// Usual share of would-be hits that are audited.
    pub audit_rate: f64,
    /// Whether candidates are refused that differ in what cosines don't show.
    pub strict: bool,
}

/// How a question about near candidates ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The best candidate's answer is served.
    Served,
    /// It would have been, but goes to the provider so that it is known whether it's right.
    Audited,
    /// It would have been, but answers are known to have changed.
    Alarmed,
    /// It isn't sure enough.
    Refused,
}

impl Ending {
    /// Whether the best candidate was sure enough to be served.
    #[must_use]
    pub fn would_hit(self) -> bool {
        self != Self::Refused
    }
}

/// A decision about near candidates, with all that went into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The nearest of each answer, nearest first.
    pub evidence: Vec<Evidence>,
    /// P(correct) of each, before calibration.
    pub raw: Vec<f64>,
    /// P(correct) of each.
    pub p_correct: Vec<f64>,
    /// The place of the best among these, unless all were ruled out.
    pub best: Option<usize>,
    /// The largest error that was served.
    pub cut: f64,
    /// How it ended.
    pub ending: Ending,
    /// With what probability it was audited, if it was sure enough.
    pub audit_rate: f64,
}

impl Case {
    /// The best candidate.
    #[must_use]
    pub fn best(&self) -> Option<&Evidence> {
        self.evidence.get(self.best?)
    }

    /// With what probability it was known beforehand that its label would be asked for.
    #[must_use]
    pub fn label_chance(&self) -> f64 {
        match self.ending {
            Ending::Served | Ending::Audited => self.audit_rate,
            Ending::Alarmed | Ending::Refused => 1.0,
        }
    }

    /// The probability that the best candidate's answer is right.
    #[must_use]
    pub fn best_p(&self) -> Option<f64> {
        self.p_correct.get(self.best?).copied()
    }
}

/// Everything that a cache has learned from labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learner {
    coefficients: Option<Vec<f64>>,
    examples: VecDeque<Example<FEATURES>>,
    labels: u64,
    next_fit: u64,
    /// Counts what makes a fit that was begun before it worthless.
    generation: u64,
    records: Records,
    scatter: Scatter,
    /// Of the scatter as it was at the last fit.
    metric: Option<Metric>,
    centres: Centres,
    account: Account,
    audits: Audits,
    drift: Drift,
    alarms: u64,
    observations: HashMap<EntryId, Observations>,
    /// Kept apart: it changes at other times, and must not be lost.
    #[serde(skip)]
    quarantined: HashMap<EntryId, Quarantine>,
    reliabilities: Reliabilities,
    joined: HashMap<EntryId, AnswerClass>,
}

/// A fit that is due: everything that it needs, so that it can be made elsewhere.
#[derive(Debug, Clone)]
pub struct FitJob {
    examples: Vec<Example<FEATURES>>,
    scatter: Scatter,
    last: Option<Metric>,
    start: [f64; FEATURES],
    generation: u64,
}

/// The coefficients and the metric that came of a [`FitJob`].
#[derive(Debug, Clone)]
pub struct Fitted {
    coefficients: [f64; FEATURES],
    metric: Option<Metric>,
    generation: u64,
}

impl FitJob {
    /// Makes it; some tens of milliseconds.
    #[must_use]
    pub fn run(&self, beliefs: &Beliefs) -> Fitted {
        Fitted {
            coefficients: fit(&self.examples, MISLABELLED, &beliefs.prior, &self.start),
            metric: Metric::of(&self.scatter, beliefs.metric.as_ref(), self.last.as_ref()),
            generation: self.generation,
        }
    }
}

/// What is told about a learner.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Labels that it has learned from, since the last alarm.
    pub labels: u64,
    /// Audits of would-be hits, ever.
    pub audits: u64,
    /// Audits of late, and how many of these would have been wrong.
    #[serde(skip)]
    pub recent_audits: Sample,
    /// The largest predicted error that is served now.
    pub cut: f64,
    /// What predicted errors are multiplied by, from audits.
    pub calibration: f64,
    /// The share of would-be hits that is audited now, in the mean.
    pub audit_rate: f64,
    /// How near an alarm is, from 0 to 1.
    pub drift: f64,
    /// Whether only exact texts are answered, because answers have changed.
    pub alarmed: bool,
    /// How often that was so.
    pub alarms: u64,
    /// Entries that aren't served to near prompts, because an answer of theirs was reported wrong.
    pub quarantined: usize,
}

impl Learner {
    /// Puts in what is known of the candidates themselves, and of the answers that `neighbours`, among which they are, have.
    pub fn complete(
        &self,
        evidence: &mut [Evidence],
        asked: Query<'_>,
        neighbours: &[Neighbour<'_>],
        beliefs: &Beliefs,
    ) {
        evidence.iter_mut().for_each(|evidence| self.records.fill(evidence));
        let metric =
            [&self.metric, &beliefs.metric].into_iter().flatten().find(|metric| metric.fits(asked.vector.dimension()));
        let plain;
        let metric = if let Some(metric) = metric {
            metric
        } else {
            plain = Metric::plain(asked.vector.dimension());
            &plain
        };
        let nearest: Vec<&Neighbour<'_>> =
            nearest_of_each(neighbours).take(RIVALS).map(|place| &neighbours[place]).collect();
        let answers: Vec<AnswerClass> = nearest.iter().map(|neighbour| neighbour.answer).collect();
        let by_centre = self.by_centre(asked.vector, &nearest, metric);
        let by_word = self.centres.by_words(&answers, asked.wording());
        for evidence in evidence {
            let (own, rival) = against_rivals(evidence.answer, &answers, &by_centre);
            evidence.put(CENTRES, by_centres(own, rival));
            let (own, rival) = against_rivals(evidence.answer, &answers, &by_word);
            evidence.put(WORDS, by_words(own, rival));
        }
    }

    /// The cosine between the prompt and the centre of each answer, of which `nearest` are the nearest prompts.
    fn by_centre(&self, asked: &Embedding, nearest: &[&Neighbour<'_>], metric: &Metric) -> Vec<f32> {
        let mut vectors = Vec::with_capacity((1 + nearest.len()) * asked.dimension());
        vectors.extend_from_slice(asked.as_slice());
        nearest.iter().for_each(|near| vectors.extend(self.centres.of(&near.answer, near.vector.as_slice())));
        metric.cosines_with_first(vectors)
    }

    /// The class of an entry's answer: its own, or that of an answer that it was found to say the same as.
    #[must_use]
    pub fn class(&self, entry: &EntryId, own: AnswerClass) -> AnswerClass {
        self.joined.get(entry).copied().unwrap_or(own)
    }

    /// Decides about candidates whose evidence is complete. `draw` is a number from 0 to 1 that nobody can foresee;
    /// `most_error` is the caller's own bound on the error of what is served, and `ruled_out` says of each candidate whether
    /// the caller can't use it.
    pub fn budgeted(
        &mut self,
        evidence: Vec<Evidence>,
        terms: Terms,
        beliefs: &Beliefs,
        most_error: Option<f64>,
        ruled_out: impl Fn(&Evidence) -> bool,
        draw: f64,
    ) -> Case {
        self.account.keep_up(terms.budget);
        let coefficients = self.coefficients(beliefs);
        let calibration = self.calibration();
        let raw: Vec<f64> = evidence
            .iter()
            .map(|evidence| coefficients.as_ref().map_or(0.0, |b| probability(b, &evidence.features())))
            .collect();
        let p_correct: Vec<f64> = raw.iter().map(|p| 1.0 - ((1.0 - p) * calibration).min(1.0)).collect();
        let may_serve = |evidence: &Evidence| {
            let is_refused = evidence.unclear || (terms.strict && !evidence.differences.is_empty());
            !is_refused && !self.is_quarantined(&evidence.entry) && !ruled_out(evidence)
        };
        let usable = (0..evidence.len()).filter(|place| may_serve(&evidence[*place]));
        let best = usable.max_by(|a, b| raw[*a].total_cmp(&raw[*b]).then(b.cmp(a)));
        let error = best.map_or(1.0, |best| 1.0 - p_correct[best]);
        let cut = self.account.cut();
        let audit_rate = self.audits.chance(error, self.usual_audits(terms));
        let ending = if !self.account.affords(error, terms.budget) || most_error.is_some_and(|most| error > most) {
            Ending::Refused
        } else if self.drift.is_alarmed() {
            Ending::Alarmed
        } else if draw < audit_rate {
            Ending::Audited
        } else {
            Ending::Served
        };
        self.account.book(error, ending == Ending::Served);
        if ending.would_hit() {
            self.audits.saw(error);
        }
        Case { evidence, raw, p_correct, best, cut, ending, audit_rate }
    }

    /// The usual share of would-be hits that is audited: what the operator set, and more where answers seem to have changed.
    fn usual_audits(&self, terms: Terms) -> f64 {
        terms.audit_rate * self.drift.urgency()
    }

    /// Decides by the published per-entry rule, which looks at the nearest entry only. `most_error` is the caller's own bound:
    /// whoever asks for fewer errors than the budget allows gets answers that this bound would have allowed, and whose own
    /// estimate is within it.
    pub fn per_entry(
        &mut self,
        evidence: Vec<Evidence>,
        terms: Terms,
        most_error: Option<f64>,
        ruled_out: impl Fn(&Evidence) -> bool,
        draw: f64,
    ) -> Case {
        let nearest = evidence
            .first()
            .filter(|nearest| !nearest.unclear && !self.is_quarantined(&nearest.entry) && !ruled_out(nearest));
        let explore = nearest.map_or(1.0, |nearest| {
            let observed = self.observations.get(&nearest.entry);
            let budget = most_error.map_or(terms.budget.get(), |most| most.min(terms.budget.get()));
            observed.map_or(1.0, |observed| observed.explore_probability(nearest.cosine, budget))
        });
        let p = nearest.and_then(|nearest| self.observations.get(&nearest.entry)?.p_correct(nearest.cosine));
        let best = nearest.is_some().then_some(0);
        let is_too_unsure = most_error.is_some_and(|most| p.is_none_or(|p| 1.0 - p > most));
        let ending = if draw > explore && !is_too_unsure { Ending::Served } else { Ending::Refused };
        let p_correct = vec![p.unwrap_or(0.0); evidence.len().min(1)];
        Case { raw: p_correct.clone(), p_correct, evidence, best, cut: 1.0 - explore, ending, audit_rate: explore }
    }

    /// Learns for each candidate whether its answer was right for the prompt of `case`, where that is known. `reliability`, from
    /// 0.5 to 1, is how often such labels are right; `asked` is the prompt with its fresh answer, if it is at hand.
    pub fn learn(
        &mut self,
        case: &Case,
        right: &[Option<bool>],
        reliability: f64,
        asked: Option<Answered<'_>>,
    ) -> Change {
        let trust = (2.0 * reliability - 1.0).clamp(0.0, 1.0).powi(2);
        if let Some(asked) = asked {
            self.locate(asked, case, right, trust);
        }
        let stands_for = match case.ending {
            Ending::Audited => (1.0 / case.audit_rate.max(f64::MIN_POSITIVE)).min(STANDS_FOR),
            _ => 1.0,
        };
        let mut change = Change::None;
        for (place, (evidence, right)) in case.evidence.iter().zip(right).enumerate() {
            let Some(right) = *right else { continue };
            let raw = case.raw.get(place).copied().unwrap_or(0.5);
            self.records.add(evidence.entry, evidence.answer, raw, right, trust);
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            let weight = (trust * stands_for * if Some(place) == case.best { 1.0 } else { OTHERS }) as f32;
            self.examples.push_back(Example { features: evidence.features(), right, weight });
            if self.examples.len() > EXAMPLES {
                self.examples.pop_front();
            }
            if place == 0 {
                self.observe(evidence, right);
            }
            if Some(place) == case.best && case.ending != Ending::Served {
                if case.ending == Ending::Audited {
                    self.audits.add(1.0 - raw, case.audit_rate, right);
                } else if 1.0 - case.p_correct[place] <= NEARLY * case.cut {
                    self.audits.add_near(1.0 - raw, right);
                }
                change = self.drift.add(case.p_correct[place], right, case.ending.would_hit());
            }
        }
        self.labels += 1;
        if change == Change::Sounded {
            self.begin_anew();
        }
        change
    }

    /// Learns where prompts lie that have one answer: this one's is a candidate's that was right, or another that is known.
    fn locate(&mut self, asked: Answered<'_>, case: &Case, right: &[Option<bool>], trust: f64) {
        let Answered { query, answer: fresh } = asked;
        let vector = query.vector.as_slice();
        self.scatter.add(vector);
        let has_answer = case.evidence.iter().zip(right).find(|(_, right)| **right == Some(true));
        let has_answer = has_answer.map(|(evidence, _)| evidence.answer);
        if let Some(answer) = has_answer.or_else(|| self.centres.knows(&fresh).then_some(fresh)) {
            if let Some((away, others)) = self.centres.away(&answer, vector) {
                self.scatter.add_within(&away, others);
            }
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            self.centres.add(answer, vector, query.wording(), trust as f32);
        }
        let wrong = case.evidence.iter().zip(&case.raw).zip(right).filter(|(_, right)| **right == Some(false));
        for ((evidence, raw), _) in wrong.filter(|((_, raw), _)| **raw > NEARLY_TAKEN) {
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            self.centres.push_away(&evidence.answer, vector, (trust * raw) as f32);
        }
    }

    fn observe(&mut self, evidence: &Evidence, right: bool) {
        if self.observations.len() < OBSERVED || self.observations.contains_key(&evidence.entry) {
            self.observations.entry(evidence.entry).or_default().add(evidence.cosine, right);
        }
    }

    /// Answers have changed: what was learned before says little about what is right now.
    fn begin_anew(&mut self) {
        let old = self.examples.len().saturating_sub(AFTER_ALARM);
        self.examples.drain(..old);
        self.audits.forget();
        self.centres = Centres::default();
        self.labels = 0;
        self.next_fit = 0;
        self.generation += 1;
        self.alarms += 1;
    }

    /// What remains where the vectors are another model's: what is known of entries and answers, and of who labels them.
    #[must_use]
    pub fn with_another_model(&self) -> Self {
        Self {
            records: self.records.clone(),
            quarantined: self.quarantined.clone(),
            reliabilities: self.reliabilities.clone(),
            joined: self.joined.clone(),
            generation: self.generation + 1,
            ..Self::default()
        }
    }

    /// `entry`'s answer says the same as those of `class`, though in other words.
    pub fn join(&mut self, entry: EntryId, class: AnswerClass) {
        if self.joined.len() < OBSERVED {
            self.joined.insert(entry, class);
        }
    }

    /// An answer of `entry` that was served is known to be wrong. Tells whether that is new.
    pub fn quarantine(&mut self, entry: EntryId, from: Quarantine) -> bool {
        let held = self.quarantined.get(&entry).copied();
        self.quarantined.insert(entry, held.map_or(from, |held| held.max(from)));
        held.is_none_or(|held| held < from)
    }

    /// `entry` is served again.
    pub fn release(&mut self, entry: &EntryId) {
        self.quarantined.remove(entry);
    }

    /// The entries that are kept from somebody.
    #[must_use]
    pub fn quarantined(&self) -> &HashMap<EntryId, Quarantine> {
        &self.quarantined
    }

    /// From now on these are kept from somebody, and no others.
    pub fn set_quarantined(&mut self, quarantined: HashMap<EntryId, Quarantine>) {
        self.quarantined = quarantined;
    }

    /// Whether any entry is kept from anybody.
    #[must_use]
    pub fn has_quarantined(&self) -> bool {
        !self.quarantined.is_empty()
    }

    /// How often labels of `source` are right; see [`Reliabilities`].
    #[must_use]
    pub fn reliability(&self, source: Source, set: Option<f64>) -> f64 {
        self.reliabilities.of(source, set)
    }

    /// `source` said the same as a more reliable one, or didn't.
    pub fn compare(&mut self, source: Source, agreed: bool) {
        self.reliabilities.compare(source, agreed);
    }

    /// `entry` has another answer now, or is gone. Tells whether it was quarantined.
    pub fn renewed(&mut self, entry: &EntryId) -> bool {
        self.joined.remove(entry);
        self.observations.remove(entry);
        self.quarantined.remove(entry).is_some()
    }

    /// Whether `entry` isn't served to near prompts.
    #[must_use]
    pub fn is_quarantined(&self, entry: &EntryId) -> bool {
        self.quarantined.contains_key(entry)
    }

    /// Whether `entry` isn't served to anybody, not even for its own text.
    #[must_use]
    pub fn is_withdrawn(&self, entry: &EntryId) -> bool {
        self.quarantined.get(entry) == Some(&Quarantine::Everybody)
    }

    /// The fit that is due, if one is.
    #[must_use]
    pub fn due(&mut self, beliefs: &Beliefs) -> Option<FitJob> {
        if self.labels < self.next_fit.max(FIRST_FIT) {
            return None;
        }
        self.next_fit = self.labels + (self.labels / MORE_SHARE + MORE).min(MOST_MORE);
        let start = self.coefficients(beliefs).unwrap_or(beliefs.prior.mean);
        Some(FitJob {
            examples: self.examples.iter().copied().collect(),
            scatter: self.scatter.clone(),
            last: self.metric.clone(),
            start,
            generation: self.generation,
        })
    }

    /// Takes up what came of a fit, unless it is of another time.
    pub fn adopt(&mut self, fitted: Fitted) {
        if fitted.generation == self.generation {
            self.coefficients = Some(fitted.coefficients.to_vec());
            self.metric = fitted.metric.or(self.metric.take());
        }
    }

    /// What predicted errors are multiplied by: what audits say, and more while few labels are behind what was learned.
    #[expect(clippy::cast_precision_loss, reason = "a factor")]
    fn calibration(&self) -> f64 {
        let young = if self.coefficients.is_some() { 1.0 + YOUTH / (self.labels as f64 + YOUTH / 2.0) } else { 1.0 };
        self.audits.calibration() * young
    }

    fn coefficients(&self, beliefs: &Beliefs) -> Option<Vector64> {
        let learned = self.coefficients.as_ref().and_then(|learned| learned.as_slice().try_into().ok());
        learned.or(beliefs.informed.then_some(beliefs.prior.mean))
    }

    /// How it stands, under `terms`.
    #[must_use]
    pub fn standing(&self, terms: Terms) -> Standing {
        Standing {
            labels: self.labels,
            audits: self.audits.all(),
            recent_audits: self.audits.wrong(),
            cut: self.account.cut(),
            calibration: self.calibration(),
            audit_rate: self.audits.rate(self.usual_audits(terms)).min(1.0),
            drift: self.drift.level(),
            alarmed: self.drift.is_alarmed(),
            alarms: self.alarms,
            quarantined: self.quarantined.len(),
        }
    }
}

/// What an answer scores, and what the best of the others does.
fn against_rivals(answer: AnswerClass, answers: &[AnswerClass], scores: &[f32]) -> (f32, Option<f32>) {
    let all = || answers.iter().zip(scores);
    let own = all().find(|(other, _)| **other == answer).map_or(0.0, |(_, score)| *score);
    (own, all().filter(|(other, _)| **other != answer).map(|(_, score)| *score).max_by(f32::total_cmp))
}

type Vector64 = [f64; FEATURES];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Reading, Text, gather};
    use crate::embed::Cosine;
    use crate::store::{Attributes, CacheKey, ScopeKey, TextHash};

    fn vector(values: [f32; 3]) -> Embedding {
        Embedding::normalised(values.to_vec()).unwrap()
    }

    fn neighbour<'n>(prompt: &'n str, vector: &'n Embedding, asked: &Embedding, answer: u64) -> Neighbour<'n> {
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
        let entry = EntryId::new(scope, TextHash::of(prompt), &Attributes::default());
        let prompt = Text { text: prompt, parsed: None, blurred: false };
        let cosine = Cosine::new(vector.cosine(asked).get());
        Neighbour { entry, prompt, vector, cosine, answer: AnswerClass(answer), is_literal: true }
    }

    const NEVER_AUDITED: f64 = 0.5;

    /// The evidence about two candidates for `prompt`, whose vector is `asked`.
    fn evidence(learner: &Learner, prompt: &str, asked: &Embedding, near: &[Neighbour<'_>]) -> Vec<Evidence> {
        let reading = Reading::of(prompt);
        let query = Query::new(&reading, asked);
        let mut evidence = gather(query, near, near.len());
        learner.complete(&mut evidence, query, near, &Beliefs::default());
        evidence
    }

    /// One feature of both candidates.
    fn feature(at: usize, learner: &Learner, prompt: &str, asked: &Embedding, near: &[Neighbour<'_>; 2]) -> [f32; 2] {
        let evidence = evidence(learner, prompt, asked, near);
        [0, 1].map(|place| evidence[place].vector[at])
    }

    /// Tells a learner which candidate's answer was right for `prompt`.
    fn teach(learner: &mut Learner, prompt: &str, asked: &Embedding, near: &[Neighbour<'_>], right: AnswerClass) {
        let terms = Terms { budget: ErrorBudget::new(0.02).unwrap(), audit_rate: 0.0, strict: false };
        let evidence = evidence(learner, prompt, asked, near);
        let truths: Vec<_> = evidence.iter().map(|evidence| Some(evidence.answer == right)).collect();
        let case = learner.budgeted(evidence, terms, &Beliefs::default(), None, |_| false, NEVER_AUDITED);
        let reading = Reading::of(prompt);
        let answered = Answered { query: Query::new(&reading, asked), answer: right };
        learner.learn(&case, &truths, 1.0, Some(answered));
    }

    #[test]
    fn a_callers_own_bound_holds_for_single_entries_too() {
        let mut learner = Learner::default();
        let asked = vector([1.0, 0.0, 0.0]);
        let far = vector([0.8, 0.6, 0.0]);
        let near = [neighbour("a", &far, &asked, 1)];
        let terms = Terms { budget: ErrorBudget::new(0.5).unwrap(), audit_rate: 0.0, strict: false };
        (0..40).for_each(|_| teach(&mut learner, "b", &asked, &near, AnswerClass(1)));
        let mut ending = |most_error| {
            let evidence = evidence(&learner, "b", &asked, &near);
            let case = learner.per_entry(evidence, terms, most_error, |_| false, 1.0);
            (case.ending, 1.0 - case.best_p().unwrap())
        };
        let (served, error) = ending(None);
        assert_eq!((served, ending(Some(0.5)).0), (Ending::Served, Ending::Served));
        assert_eq!((ending(Some(error / 2.0)).0, ending(Some(0.0)).0), (Ending::Refused, Ending::Refused));
    }

    #[test]
    fn prompts_that_had_an_answer_speak_for_it_where_they_lie() {
        let mut learner = Learner::default();
        // The entry of answer 1 is an outlier; its other prompts lie where this one is asked.
        let (asked, outlier, other) = (vector([1.0, 0.0, 0.0]), vector([0.6, 0.8, 0.0]), vector([0.6, 0.0, 0.8]));
        let near = [neighbour("a", &outlier, &asked, 1), neighbour("b", &other, &asked, 2)];
        let margins = |learner: &Learner| feature(CENTRES.end - 1, learner, "c", &asked, &near);
        assert!(margins(&learner).iter().all(|margin| margin.abs() < 1e-6));
        (0..5).for_each(|_| teach(&mut learner, "c", &asked, &near, AnswerClass(1)));
        let [own, other] = margins(&learner);
        assert!(own > 0.5 && other < -0.5, "{own} {other}");
        learner.begin_anew();
        assert!(margins(&learner)[0].abs() < 1e-6, "what was learned of changed answers is gone");
    }

    #[test]
    fn an_answer_that_no_candidate_has_is_learned_where_it_is_known() {
        let mut learner = Learner::default();
        let (asked, a, b) = (vector([1.0, 0.0, 0.0]), vector([0.6, 0.8, 0.0]), vector([0.6, 0.0, 0.8]));
        let near = [neighbour("a", &a, &asked, 1), neighbour("b", &b, &asked, 2)];
        let prompts = |learner: &Learner, answer| {
            learner.centres.away(&AnswerClass(answer), asked.as_slice()).map_or(0.0, |(_, prompts)| prompts)
        };
        teach(&mut learner, "c", &asked, &near, AnswerClass(1));
        let others = [neighbour("b", &b, &asked, 2), neighbour("d", &a, &asked, 3)];
        teach(&mut learner, "c", &asked, &others, AnswerClass(1));
        teach(&mut learner, "c", &asked, &others, AnswerClass(9));
        assert_eq!([1, 2, 3, 9].map(|answer| prompts(&learner, answer)), [2.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn words_that_came_with_an_answer_speak_for_it_where_vectors_tell_nothing() {
        let mut learner = Learner::default();
        let (asked, a, b) = (vector([1.0, 0.0, 0.0]), vector([0.8, 0.6, 0.0]), vector([0.8, 0.0, 0.6]));
        let near = [neighbour("a", &a, &asked, 1), neighbour("b", &b, &asked, 2)];
        let margins = |learner: &Learner| feature(WORDS.end - 1, learner, "the card that I lost", &asked, &near);
        assert_eq!(margins(&learner), [0.0, 0.0]);
        for _ in 0..5 {
            teach(&mut learner, "I lost my card", &asked, &near, AnswerClass(1));
            teach(&mut learner, "my card is late", &asked, &near, AnswerClass(2));
        }
        let [lost, late] = margins(&learner);
        assert!(lost > late + 0.3, "{lost} {late}");
    }
}
