//! Numbers that no operator sets, in one place: what each is for, its unit, and whether it is given by a calculation, tuned, or
//! arbitrary. Where the range that was tried isn't named, nobody wrote it down.

/// All of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tunables {
    /// Of what predictions may spend.
    pub allocation: AllocationTunables,
    /// Of audits.
    pub audit: AuditTunables,
    /// Of the calibration of predicted errors.
    pub calibration: CalibrationTunables,
    /// Of the alarm.
    pub drift: DriftTunables,
    /// Of what is learned from labels.
    pub training: TrainingTunables,
}

/// See [`BudgetAllocator`](super::allocator::BudgetAllocator).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AllocationTunables {
    /// Share of the budget that predictions may spend: they are estimates, and the budget is to hold at any time, not on
    /// average. Tuned.
    pub safety: f64,
    /// Requests that the cut is made from. Arbitrary: enough for a budget of 0.01 to mean ten wrong answers.
    pub window: usize,
    /// Requests after which the cut is made anew. Arbitrary: it costs a sort of the window.
    pub cut_every: u32,
    /// Requests beyond those seen whose budget may be spent in advance, so that the first sure hit of all is served. Tuned.
    pub advance: f64,
    /// Predicted error above which nothing is served, whatever the budget: nobody wants coins tossed. It binds budgets above 0.07. Arbitrary.
    pub ceiling: f64,
    /// The same as a multiple of the budget's square root: whoever wants few wrong answers doesn't want them all from a few wild guesses,
    /// but with a small budget the sum binds long before a single guess does. Tuned, from 1.0 to 1.2, with `youth`.
    pub ceiling_of_root: f64,
    /// The two ceilings where predictions were too good, or few labels tell: the same for the error, and as a multiple of the budget. Tuned.
    pub cautious_ceiling: f64,
    pub cautious_of_budget: f64,
    /// What predicted errors have to be multiplied by, at most for the higher ceilings, and at least for the lower ones; between them it is in
    /// proportion. Tuned, from (1.3, 1.5) on: it is 1.0 to 1.4 on banking77 and qqp once they have labels, and 1.5 to 1.9 on
    /// `near-misses.jsonl`.
    pub trusted: (f64, f64),
}

/// See [`Auditor`](super::auditor::Auditor).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AuditTunables {
    /// Audits that estimates are made from. Arbitrary.
    pub window: usize,
    /// Audits after which the rate is what the operator set; it falls with the square root of their number, as does what one
    /// more of them tells. Arbitrary.
    pub usual_after: f64,
    /// Bounds of the rate, in multiples of what the operator set. Arbitrary.
    pub rates: (f64, f64),
    /// Bounds of a hit's chance of being audited, in multiples of the rate: what seems sure is audited too. Arbitrary.
    pub focus: (f64, f64),
    /// Would-be hits over which the mean doubt is taken. Arbitrary.
    pub doubt_over: f64,
    /// Error with whose doubt that mean begins. Arbitrary.
    pub first_error: f64,
    /// The least error that is believed. Arbitrary.
    pub least_error: f64,
}

/// See [`Calibration`](super::calibration::Calibration).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationTunables {
    /// Refusals that were nearly hits that it is made from, beside the audits' window. Arbitrary.
    pub window: usize,
    /// Wrong answers that are assumed before the first audit, and how many would have been expected: the first predictions rest
    /// on other traffic than this one. Tuned.
    pub assumed: (f64, f64),
    /// Standard deviations that it keeps above what was seen. Tuned.
    pub caution: f64,
    /// Its bounds. Arbitrary.
    pub bounds: (f64, f64),
    /// Predicted errors up to this multiple of the cut are like those that are served. Tuned.
    pub near_cut: f64,
    /// Labels after which what was learned is twice as wrong as it says, about. Tuned, from 60 to 200: with less, budgets broke among the first
    /// thousands of requests.
    pub youth: f64,
}

/// See [`DriftMonitor`](super::drift::DriftMonitor).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftTunables {
    /// Share of the right answers that are still right when answers have changed, for which the test is best. With a larger one it
    /// would hear predictions that are a third too good among the many refusals, which cost nothing.
    pub still_right: f64,
    /// Evidence from which the alarm sounds, as a log-likelihood ratio. Where predictions are right, it is reached about once in
    /// e^16 labels (Page 1954).
    pub alarm: f64,
    /// Most that a single label counts: none is beyond doubt. Arbitrary.
    pub max_weight: f64,
    /// Predictions count as no surer than this either way, because they are estimates. Arbitrary.
    pub surest: f64,
    /// Predictions below this aren't listened to: hardly any are right, so that many that are a little too good would sound like
    /// change. Arbitrary.
    pub hopeless: f64,
    /// How near the alarm has to be for more audits, from 0 to 1. Arbitrary.
    pub suspicion: f64,
    /// How many times as many audits there are where it is nearest. Arbitrary.
    pub urgent: f64,
    /// Would-be hits whose labels must be good before hits are served again. Arbitrary.
    pub clearing: u32,
}

/// See [`Estimator`](super::estimator::Estimator).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingTunables {
    /// Examples that are kept. Arbitrary: a fit of so many takes some tens of milliseconds.
    pub examples: usize,
    /// Labels before the first fit. Arbitrary.
    pub first_fit: u64,
    /// Labels between fits: so many, and one for each so many that there are, up to a number. Arbitrary.
    pub fit_every: (u64, u64, u64),
    /// What the label of a candidate counts that wasn't the best of its request: errors are predicted of the best ones, and the
    /// others are of another kind, wrong most often because the best was right. Tuned.
    pub weight_of_others: f64,
    /// An audit stands for all the would-be hits that weren't audited, up to so many of them. Arbitrary.
    pub max_audit_weight: f64,
    /// Share of labels that say the contrary of what is so: people differ about what is the same, and feedback lies. Tuned.
    pub mislabelled: f64,
    /// Labels from before an alarm that still count after it: those that raised it. Arbitrary.
    pub kept_after_alarm: usize,
    /// From which probability on a wrong candidate was nearly taken: its answer's centre lies too near to such prompts. Tuned.
    pub nearly_taken: f64,
}

static SHIPPED: Tunables = Tunables {
    allocation: AllocationTunables {
        safety: 0.85,
        window: 1000,
        cut_every: 20,
        advance: 25.0,
        ceiling: 0.3,
        ceiling_of_root: 1.06,
        cautious_ceiling: 0.23,
        cautious_of_budget: 4.6,
        trusted: (1.45, 1.65),
    },
    audit: AuditTunables {
        window: 500,
        usual_after: 20.0,
        rates: (0.2, 2.0),
        focus: (1.0 / 3.0, 3.0),
        doubt_over: 200.0,
        first_error: 0.03,
        least_error: 1e-4,
    },
    calibration: CalibrationTunables {
        window: 500,
        assumed: (2.0, 1.5),
        caution: 0.5,
        bounds: (0.7, 10.0),
        near_cut: 2.5,
        youth: 120.0,
    },
    drift: DriftTunables {
        still_right: 0.35,
        alarm: 16.0,
        max_weight: 2.5,
        surest: 0.98,
        hopeless: 0.2,
        suspicion: 0.25,
        urgent: 10.0,
        clearing: 40,
    },
    training: TrainingTunables {
        examples: 8000,
        first_fit: 60,
        fit_every: (20, 7, 400),
        weight_of_others: 0.1,
        max_audit_weight: 3.0,
        mislabelled: 0.03,
        kept_after_alarm: 60,
        nearly_taken: 0.1,
    },
};

impl Tunables {
    /// What Refrain ships with.
    #[must_use]
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }
}
