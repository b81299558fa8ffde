//! Units and currencies.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::tokens::Token;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
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

/// Whether two prompts measure the same quantity in different units. That one of them names no unit is no difference.
pub(super) fn differ(a: &Units, b: &Units) -> bool {
    let of = |units: &Units, quantity: Quantity| -> Vec<&'static str> {
        units.iter().filter(|(its, _)| *its == quantity).map(|(_, unit)| *unit).collect()
    };
    a.iter().any(|(quantity, _)| {
        let theirs = of(b, *quantity);
        !theirs.is_empty() && theirs != of(a, *quantity)
    })
}

/// What each spelling stands for.
static SPELLINGS: LazyLock<HashMap<&str, (Quantity, &str)>> = LazyLock::new(|| {
    let all = UNITS.iter();
    all.flat_map(|(quantity, unit, spellings)| spellings.iter().map(|text| (*text, (*quantity, *unit)))).collect()
});

/// What a prompt measures, and in what.
pub(super) type Units = BTreeSet<(Quantity, &'static str)>;

pub(super) fn units(tokens: &[Token]) -> Units {
    tokens.iter().filter_map(|token| SPELLINGS.get(token.lower.as_str()).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn other_units_of_one_quantity_differ() {
        let differ = |a: &str, b: &str| differ(&units(&split(a)), &units(&split(b)));
        assert!(differ("5 km", "5 miles") && differ("$5", "5 euros") && differ("in USD and EUR", "in USD"));
        assert!(!differ("5 km", "five kilometres") && !differ("5 km in 2 hours", "5 km") && !differ("5%", "5 percent"));
    }
}
