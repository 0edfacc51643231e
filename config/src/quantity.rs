//! A whole number followed by a unit: what sizes and times have in common.

/// Units, each with what it counts of the smallest one.
pub(crate) type Units = [(&'static str, u64)];

/// Digits after the point that are looked at: more than any unit has of another.
const DECIMALS_MAX: u32 = 9;

/// Splits `"4 MiB"` into the number and the unit, which may be empty.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence; `example` is how it should look, and
/// `show` writes a number of the smallest of the `units`.
pub(crate) fn split<'a>(
    text: &'a str,
    example: &str,
    units: &Units,
    show: impl Fn(u64) -> String,
) -> Result<(u64, &'a str), String> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '_')
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let digits: String = digits.chars().filter(|character| *character != '_').collect();
    if digits.is_empty() {
        return Err(format!("does not begin with a number: write it like {example}"));
    }
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let advice = match whole(&digits, fraction, units) {
            Some(number) => format!("write \"{}\"", show(number)),
            None => format!("use a smaller unit, like {example}"),
        };
        return Err(format!("is no whole number: {advice}"));
    }
    let Ok(number) = digits.parse::<u64>() else {
        return Err("is too large".to_owned());
    };
    Ok((number, rest.trim()))
}

/// What `digits.fraction` is in the smallest unit, where that is a whole number; `fraction` has its
/// unit behind it.
fn whole(digits: &str, fraction: &str, units: &Units) -> Option<u64> {
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    let (decimals, unit) = fraction.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    let count = u32::try_from(decimals.len()).ok().filter(|count| *count <= DECIMALS_MAX)?;
    let scaled = format!("{digits}{decimals}").parse::<u64>().ok()?;
    let (product, scale) = (u128::from(scaled) * u128::from(*factor), 10_u128.pow(count));
    u64::try_from(product / scale).ok().filter(|_| product.is_multiple_of(scale))
}
