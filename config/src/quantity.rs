//! A whole number followed by a unit: what sizes and times have in common.

/// Splits `"4 MiB"` into the number and the unit, which may be empty.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence; `example` is how it should look.
pub(crate) fn split<'a>(text: &'a str, example: &str) -> Result<(u64, &'a str), String> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '_')
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let digits: String = digits.chars().filter(|character| *character != '_').collect();
    if digits.is_empty() {
        return Err(format!("does not begin with a number: write it like {example}"));
    }
    if rest.starts_with(['.', ',']) {
        return Err(format!("is no whole number: use a smaller unit, like {example}"));
    }
    let Ok(number) = digits.parse::<u64>() else {
        return Err("is too large".to_owned());
    };
    Ok((number, rest.trim()))
}
