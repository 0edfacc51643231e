//! How deep a text nests, found out before anything recurses over it.
//!
//! The TOML parser bounds brackets, and it bounds the parts of a key, but not the two within each
//! other: 80 inline tables with keys of 80 parts make a tree whose mere drop overflows a stack.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::limits;

/// Bytes of the first token that nests deeper than the bounds, and what is deep.
pub(crate) fn too_deep(text: &str) -> Option<(std::ops::Range<usize>, &'static str)> {
    let mut brackets = 0_usize;
    let mut parts = 1_usize;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => parts += 1,
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                brackets += 1;
                parts = 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                brackets = brackets.saturating_sub(1);
                parts = 1;
            }
            TokenKind::Equals | TokenKind::Comma | TokenKind::Newline => parts = 1,
            TokenKind::Whitespace
            | TokenKind::Comment
            | TokenKind::LiteralString
            | TokenKind::BasicString
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString
            | TokenKind::Atom
            | TokenKind::Eof => (),
        }
        let span = token.span().start()..token.span().end();
        if brackets > limits::NESTING_MAX {
            return Some((span, "brackets are nested too deeply"));
        }
        if parts > limits::KEY_PARTS_MAX {
            return Some((span, "the key has too many parts"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_and_parts_of_one_key() {
        let arrays = |depth: usize| format!("a = {}{}\n", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(too_deep(&arrays(16)), None);
        assert_eq!(too_deep(&arrays(17)).map(|(span, _)| span), Some(20..21));
        let key = |parts: usize| format!("{} = 1\n", vec!["a"; parts].join("."));
        assert_eq!(too_deep(&key(16)), None);
        assert_eq!(too_deep(&key(17)).map(|(span, _)| span), Some(31..32));
        assert_eq!(too_deep(&key(16).repeat(100)), None);
        assert_eq!(too_deep("a = [1.5, 2.5]\n".repeat(100).as_str()), None);
        assert_eq!(too_deep(&format!("a = \"{}\" # {0}", "[.".repeat(100))), None);
    }
}
