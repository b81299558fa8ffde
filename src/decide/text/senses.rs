//! What single words may mean.

/// What a word may mean, whatever stands around it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Senses {
    /// It holds a sentence together and says little.
    pub(super) is_function: bool,
    /// It negates.
    pub(super) negates: bool,
    /// Where it stands, an order of things matters.
    pub(super) directs: bool,
    /// A phrase that says what belongs to something begins with it.
    pub(super) begins_scope: bool,
    /// The languages in which it is common.
    pub(super) languages: Languages,
    /// The number that it is a word for.
    pub(super) number: Option<NumberWord>,
    /// What is measured in it.
    pub(super) unit: Option<Unit>,
    /// The day or month that it names.
    pub(super) date: Option<DateName>,
}

/// Some of the languages in `language.rs`, a bit for each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Languages(u8);

impl Languages {
    /// Adds the language at a place.
    pub(super) fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    /// Whether there is none.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the language at a place is among them.
    pub(super) fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

/// A place in the table of words in `numbers.rs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberWord(pub(super) u8);

/// A place in the table of `units.rs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit(pub(super) u8);

/// What a word is a name for.
#[derive(Debug, Clone, Copy)]
pub(super) struct DateName {
    pub(super) place: u8,
    pub(super) is: When,
    /// Of a day or a month, and nothing but it.
    pub(super) is_plain: bool,
}

/// When a word names a day or a month.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Always,
    BesideNumber,
    /// Beside a number, or behind what stands before months.
    InPlaceOfMonth,
}
