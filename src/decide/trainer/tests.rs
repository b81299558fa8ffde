use std::sync::Arc;

use super::*;
use crate::decide::estimator::Estimator;
use crate::decide::features::{CENTRE_MARGIN, WORDS_MARGIN};
use crate::decide::policy::tests::entry;
use crate::decide::{
    AssessmentRequest, BudgetPolicy, CandidateState, ErrorBudget, LookupConstraints, Neighbour, ParsedPrompt, Policy,
    PolicyParams, PromptText, Query,
};
use crate::embed::{Cosine, Embedding};

fn vector(values: [f32; 3]) -> Embedding {
    Embedding::normalised(values.to_vec()).unwrap()
}

fn neighbour<'n>(prompt: &'n str, vector: &'n Embedding, asked: &Embedding, answer: u64) -> Neighbour<'n> {
    let text = PromptText { text: prompt, parsed: None, is_lossy: false };
    let cosine = Cosine::new(vector.cosine(asked).get());
    let state = CandidateState::default();
    Neighbour {
        entry: entry(prompt),
        prompt: text,
        vector,
        cosine,
        answer: AnswerClass(answer),
        is_literal: true,
        state,
    }
}

fn assessed(trainer: &Trainer, prompt: &ParsedPrompt<'_>, asked: &Embedding, near: &[Neighbour<'_>]) -> Assessment {
    let params = PolicyParams::new(ErrorBudget::new(0.02).unwrap(), 0.0, false);
    let policy = BudgetPolicy { params, prior: Arc::default() };
    let constraints = &LookupConstraints::default();
    let query = Query::new(prompt, asked);
    let (entries, max_results, sample) = (near.len(), 1, 0.5);
    let request = AssessmentRequest { query, neighbours: near, entries, constraints, max_results, sample };
    policy.assess(&request, trainer.knowledge(), &Spending::default()).assessment.unwrap()
}

/// One feature of both candidates.
fn feature(at: usize, trainer: &Trainer, prompt: &str, asked: &Embedding, near: &[Neighbour<'_>; 2]) -> [f32; 2] {
    let assessment = assessed(trainer, &ParsedPrompt::of(prompt), asked, near);
    [0, 1].map(|place| assessment.candidates[place].vector[at])
}

/// Tells a trainer which candidate's answer was right for `prompt`.
fn teach(trainer: &mut Trainer, prompt: &str, asked: &Embedding, near: &[Neighbour<'_>], right: AnswerClass) {
    let prompt = ParsedPrompt::of(prompt);
    let assessment = assessed(trainer, &prompt, asked, near);
    let truths: Vec<_> =
        assessment.candidates.iter().map(|candidate| Some(Judgement::sure(candidate.answer == right))).collect();
    let answered = Some(AnsweredQuery { query: Query::new(&prompt, asked), answer: right });
    let labels = Labels { of: &truths, answered };
    trainer.learn(&assessment, &labels, &Spending::default(), Tunables::shipped());
}

#[test]
fn prompts_that_had_an_answer_speak_for_it_where_they_lie() {
    let mut trainer = Trainer::default();
    // The entry of answer 1 is an outlier; its other prompts lie where this one is asked.
    let (asked, outlier, other) = (vector([1.0, 0.0, 0.0]), vector([0.6, 0.8, 0.0]), vector([0.6, 0.0, 0.8]));
    let near = [neighbour("a", &outlier, &asked, 1), neighbour("b", &other, &asked, 2)];
    let margins = |trainer: &Trainer| feature(CENTRE_MARGIN, trainer, "c", &asked, &near);
    assert!(margins(&trainer).iter().all(|margin| margin.abs() < 1e-6));
    (0..5).for_each(|_| teach(&mut trainer, "c", &asked, &near, AnswerClass(1)));
    let [own, other] = margins(&trainer);
    assert!(own > 0.5 && other < -0.5, "{own} {other}");
    trainer.begin_anew(&Tunables::shipped().training);
    assert!(margins(&trainer)[0].abs() < 1e-6, "what was learned of changed answers is gone");
}

#[test]
fn an_answer_that_no_candidate_has_is_learned_where_it_is_known() {
    let mut trainer = Trainer::default();
    let (asked, a, b) = (vector([1.0, 0.0, 0.0]), vector([0.6, 0.8, 0.0]), vector([0.6, 0.0, 0.8]));
    let near = [neighbour("a", &a, &asked, 1), neighbour("b", &b, &asked, 2)];
    let prompts = |trainer: &Trainer, answer| {
        let centres = &trainer.knowledge.estimator.centres;
        centres.away(&AnswerClass(answer), asked.as_slice()).map_or(0.0, |(_, prompts)| prompts)
    };
    teach(&mut trainer, "c", &asked, &near, AnswerClass(1));
    let others = [neighbour("b", &b, &asked, 2), neighbour("d", &a, &asked, 3)];
    teach(&mut trainer, "c", &asked, &others, AnswerClass(1));
    teach(&mut trainer, "c", &asked, &others, AnswerClass(9));
    assert_eq!([1, 2, 3, 9].map(|answer| prompts(&trainer, answer)), [2.0, 0.0, 0.0, 0.0]);
}

#[test]
fn words_that_came_with_an_answer_speak_for_it_where_vectors_tell_nothing() {
    let mut trainer = Trainer::default();
    let (asked, a, b) = (vector([1.0, 0.0, 0.0]), vector([0.8, 0.6, 0.0]), vector([0.8, 0.0, 0.6]));
    let near = [neighbour("a", &a, &asked, 1), neighbour("b", &b, &asked, 2)];
    let margins = |trainer: &Trainer| feature(WORDS_MARGIN, trainer, "the card that I lost", &asked, &near);
    assert_eq!(margins(&trainer), [0.0, 0.0]);
    for _ in 0..5 {
        teach(&mut trainer, "I lost my card", &asked, &near, AnswerClass(1));
        teach(&mut trainer, "my card is late", &asked, &near, AnswerClass(2));
    }
    let [lost, late] = margins(&trainer);
    assert!(lost > late + 0.3, "{lost} {late}");
}

#[test]
fn a_fit_is_due_after_some_labels_and_not_taken_after_an_alarm() {
    let (mut trainer, prior, tunables) = (Trainer::default(), ModelPrior::default(), Tunables::shipped());
    let (asked, a) = (vector([1.0, 0.0, 0.0]), vector([0.8, 0.6, 0.0]));
    let near = [neighbour("a", &a, &asked, 1)];
    for _ in 0..tunables.training.first_fit {
        assert!(trainer.due(&prior, tunables).is_none());
        teach(&mut trainer, "b", &asked, &near, AnswerClass(1));
    }
    let job = trainer.due(&prior, tunables).unwrap();
    assert!(trainer.due(&prior, tunables).is_none());
    let fitted = job.run(&prior);
    trainer.begin_anew(&tunables.training);
    trainer.adopt(fitted);
    assert_eq!(trainer.knowledge.estimator.coefficients, None);
}

#[test]
fn what_is_known_of_answers_that_say_the_same_is_joined() {
    let mut trainer = Trainer::default();
    let [one, other] = [AnswerClass(1), AnswerClass(2)];
    let prompt = ParsedPrompt::of("where is the card");
    let asked = vector([1.0, 0.0, 0.0]);
    let estimator = &mut trainer.knowledge.estimator;
    estimator.records.add(entry("b"), other, 0.9, false, 1.0);
    for _ in 0..2 {
        estimator.centres.add(other, asked.as_slice(), Query::new(&prompt, &asked).tokens(), 1.0);
    }
    let known = estimator.records.of_answer(&other);
    assert!(known < 0.0);

    trainer.relate(one, other, Judgement::sure(true), 0.5);
    let knowledge = trainer.knowledge();
    assert_eq!((knowledge.class(&entry("b"), other), knowledge.agree(one, other)), (one, Some(true)));
    let Estimator { records, centres, .. } = &knowledge.estimator;
    assert_eq!((records.of_answer(&one), records.of_answer(&other)), (known, 0.0));
    let (away, prompts) = centres.away(&one, asked.as_slice()).unwrap();
    assert_eq!((away, prompts, centres.knows(&other)), (vec![0.0; 3], 2.0, false));
    // A second answer joins what is there.
    let third = AnswerClass(3);
    trainer.knowledge.estimator.centres.add(third, &[0.0, 1.0, 0.0], Query::new(&prompt, &asked).tokens(), 1.0);
    trainer.relate(other, third, Judgement::sure(true), 0.5);
    let (_, prompts) = trainer.knowledge().estimator.centres.away(&one, asked.as_slice()).unwrap();
    assert_eq!(prompts, 3.0);
}
