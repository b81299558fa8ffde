//! Units and currencies.

use super::senses::Unit;
use super::token::Token;

/// What is measured, the unit, and how it is written.
const UNITS: [(Quantity, &str, &[&str]); 61] = [
    (Quantity::Length, "km", &["km", "kms", "kilometer", "kilometers", "kilometre", "kilometres"]),
    (Quantity::Length, "mile", &["mi", "mile", "miles"]),
    (Quantity::Length, "metre", &["meter", "meters", "metre", "metres"]),
    (Quantity::Length, "cm", &["cm", "centimeter", "centimeters", "centimetre", "centimetres"]),
    (Quantity::Length, "mm", &["mm", "millimeter", "millimeters", "millimetre", "millimetres"]),
    (Quantity::Length, "foot", &["ft", "foot", "feet"]),
    (Quantity::Length, "inch", &["inch", "inches"]),
    (Quantity::Length, "yard", &["yard", "yards"]),
    (Quantity::Mass, "kg", &["kg", "kgs", "kilo", "kilos", "kilogram", "kilograms"]),
    (Quantity::Mass, "gram", &["g", "gram", "grams"]),
    (Quantity::Mass, "pound", &["lb", "lbs"]),
    (Quantity::Mass, "milligram", &["mg", "milligram", "milligrams"]),
    (Quantity::Mass, "microgram", &["mcg", "microgram", "micrograms"]),
    (Quantity::Mass, "ounce", &["oz", "ounce", "ounces"]),
    (Quantity::Mass, "ton", &["ton", "tons", "tonne", "tonnes"]),
    (Quantity::Volume, "litre", &["liter", "liters", "litre", "litres"]),
    (Quantity::Volume, "ml", &["ml", "milliliter", "milliliters"]),
    (Quantity::Volume, "gallon", &["gallon", "gallons"]),
    (Quantity::Volume, "cup", &["cup", "cups"]),
    (Quantity::Volume, "tablespoon", &["tbsp", "tablespoon", "tablespoons"]),
    (Quantity::Volume, "teaspoon", &["tsp", "teaspoon", "teaspoons"]),
    (Quantity::Temperature, "celsius", &["celsius", "centigrade"]),
    (Quantity::Temperature, "fahrenheit", &["fahrenheit"]),
    (Quantity::Temperature, "kelvin", &["kelvin"]),
    (Quantity::Money, "dollar", &["$", "usd", "dollar", "dollars"]),
    (Quantity::Money, "euro", &["€", "eur", "euro", "euros"]),
    (Quantity::Money, "sterling", &["£", "gbp"]),
    (Quantity::Money, "yen", &["¥", "jpy", "yen"]),
    (Quantity::Money, "rupee", &["₹", "inr", "rupee", "rupees"]),
    (Quantity::Money, "yuan", &["cny", "rmb", "yuan"]),
    (Quantity::Speed, "km/h", &["kmh", "kph"]),
    (Quantity::Speed, "mph", &["mph"]),
    (Quantity::Speed, "knot", &["knot", "knots"]),
    (Quantity::Every, "day", &["daily", "nightly"]),
    (Quantity::Every, "week", &["weekly"]),
    (Quantity::Every, "month", &["monthly"]),
    (Quantity::Every, "year", &["yearly", "annual", "annually"]),
    (Quantity::Every, "hour", &["hourly"]),
    (Quantity::Power, "watt", &["watt", "watts", "kw", "kilowatt", "kilowatts"]),
    (Quantity::Power, "amp", &["amp", "amps"]),
    (Quantity::Power, "volt", &["volt", "volts"]),
    (Quantity::Bandwidth, "kbps", &["kbps"]),
    (Quantity::Bandwidth, "mbps", &["mbps"]),
    (Quantity::Bandwidth, "gbps", &["gbps"]),
    (Quantity::Money, "bitcoin", &["bitcoin", "btc"]),
    (Quantity::Money, "krone", &["kroner", "krone", "krona", "kronor"]),
    (Quantity::Money, "franc", &["chf", "franc", "francs"]),
    (Quantity::Time, "millisecond", &["ms", "millisecond", "milliseconds"]),
    (Quantity::Time, "nanosecond", &["ns", "nanosecond", "nanoseconds"]),
    (Quantity::Time, "second", &["secs", "seconds"]),
    (Quantity::Time, "minute", &["mins", "minute", "minutes"]),
    (Quantity::Time, "hour", &["hr", "hrs", "hour", "hours"]),
    (Quantity::Time, "day", &["days"]),
    (Quantity::Time, "week", &["weeks"]),
    (Quantity::Time, "month", &["months"]),
    (Quantity::Time, "year", &["years"]),
    (Quantity::Data, "kb", &["kb", "kilobyte", "kilobytes"]),
    (Quantity::Data, "mb", &["mb", "megabyte", "megabytes"]),
    (Quantity::Data, "gb", &["gb", "gigabyte", "gigabytes"]),
    (Quantity::Data, "tb", &["tb", "terabyte", "terabytes"]),
    (Quantity::Share, "percent", &["%", "percent"]),
];

/// What is measured.
#[derive(Clone, Copy)]
enum Quantity {
    Length,
    Mass,
    Volume,
    Temperature,
    Money,
    Time,
    Data,
    Share,
    Speed,
    Every,
    Power,
    Bandwidth,
}

/// All spellings, and what each stands for.
pub(super) fn spellings() -> impl Iterator<Item = (&'static str, Unit)> {
    let of = |(unit, (_, _, spellings)): (u8, &'static (Quantity, &str, &'static [&'static str]))| {
        spellings.iter().map(move |spelling| (*spelling, Unit(unit)))
    };
    (0..).zip(&UNITS).flat_map(of)
}

/// What a prompt measures in: a bit for each of [`UNITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Units(u64);

impl Units {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        Self(tokens.iter().filter_map(|token| token.senses.unit).fold(0, |units, Unit(place)| units | 1 << place))
    }

    /// Whether two prompts measure the same quantity in different units. That one of them names no unit is no difference.
    pub(super) fn differ(self, Self(theirs): Self) -> bool {
        let Self(mine) = self;
        let differ = |units: u64| mine & units != 0 && theirs & units != 0 && (mine ^ theirs) & units != 0;
        mine != theirs && (0..QUANTITIES).any(|quantity| differ(OF_QUANTITY[quantity]))
    }
}

const QUANTITIES: usize = Quantity::Bandwidth as usize + 1;

/// The units of each quantity.
static OF_QUANTITY: [u64; QUANTITIES] = {
    let (mut units, mut place) = ([0; QUANTITIES], 0);
    while place < UNITS.len() {
        units[UNITS[place].0 as usize] |= 1 << place;
        place += 1;
    }
    units
};

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn other_units_of_one_quantity_differ() {
        let differ = |a: &str, b: &str| Units::of(&split(a)).differ(Units::of(&split(b)));
        assert!(differ("5 km", "5 miles") && differ("$5", "5 euros") && differ("in USD and EUR", "in USD"));
        assert!(!differ("5 km", "five kilometres") && !differ("5 km in 2 hours", "5 km") && !differ("5%", "5 percent"));
    }
}
