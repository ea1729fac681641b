//! Tokens: which ones are set, which one a request shows, and how neither gets into a log.
//!
//! A comparison takes the same time wherever the texts differ, and looks at every token set.

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;

use crate::http::head::Request;
use crate::http::uri::percent_decode;
use crate::http::uri::raw_pairs;

/// The cookie that carries a token.
pub const COOKIE: &str = "ringcast_token";
/// The query parameter that carries a token.
pub const PARAMETER: &str = "token";
/// Of one token; a query has no room for much more.
const TOKEN_BYTES_MAX: usize = 512;
const TOKENS_MAX: usize = 256;
/// Places in which a request may show one.
const SHOWN_MAX: usize = 3;

/// The tokens that are set. Printing one never shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

#[derive(Clone, PartialEq, Eq)]
struct Token {
    name: String,
    secret: String,
}

/// What is wrong with a list of tokens; says nothing of their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTokens {
    #[error("a token is empty")]
    Empty,
    #[error("a token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("a token has a blank or a control character")]
    Characters,
    #[error("more than {TOKENS_MAX} tokens")]
    TooMany,
}

impl Tokens {
    /// From `token` and `name:token` entries, separated by commas or line ends.
    pub fn parse(text: &str) -> Result<Tokens, BadTokens> {
        let entries =
            text.split([',', '\n', '\r']).map(str::trim).filter(|entry| !entry.is_empty());
        let tokens = entries.map(Token::parse).collect::<Result<Vec<Token>, BadTokens>>()?;
        if tokens.len() > TOKENS_MAX { Err(BadTokens::TooMany) } else { Ok(Tokens(tokens)) }
    }

    /// None are set: nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of the token that `shown` is, empty when it has none; None when it is no token.
    pub fn matches(&self, shown: &str) -> Option<&str> {
        let mut found = None;
        for token in &self.0 {
            if equal_constant_time(token.secret.as_bytes(), shown.as_bytes()) {
                found = Some(token.name.as_str());
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens(*** x {})", self.0.len())
    }
}

impl Token {
    fn parse(entry: &str) -> Result<Token, BadTokens> {
        let (name, secret) = entry.split_once(':').unwrap_or(("", entry));
        let (name, secret) = (name.trim(), secret.trim());
        if secret.is_empty() {
            return Err(BadTokens::Empty);
        }
        if secret.len() > TOKEN_BYTES_MAX || name.len() > TOKEN_BYTES_MAX {
            return Err(BadTokens::TooLong);
        }
        let bad = |character: char| character.is_whitespace() || character.is_control();
        if secret.contains(bad) || name.contains(bad) {
            return Err(BadTokens::Characters);
        }
        Ok(Token { name: name.to_owned(), secret: secret.to_owned() })
    }
}

/// Whether two secrets are the same; the time depends on the length of `shown` only.
pub fn equal_constant_time(secret: &[u8], shown: &[u8]) -> bool {
    let mut difference = secret.len() ^ shown.len();
    for (index, byte) in shown.iter().enumerate() {
        let expected = secret.get(index).copied().unwrap_or(!byte);
        difference |= usize::from(black_box(expected ^ byte));
    }
    black_box(difference) == 0
}

/// The tokens that a request shows: in the query, as a bearer, in the cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented<'a>([Option<Cow<'a, str>>; SHOWN_MAX]);

/// Collects them.
pub fn presented<'a>(request: &Request<'a>) -> Presented<'a> {
    let in_query = raw_pairs(request.query).find(|pair| pair.0 == PARAMETER);
    // Plus signs are meant: tokens are often base64.
    let in_query = in_query.map(|pair| percent_decode(pair.1));
    let bearer = request.authorization().and_then(bearer_of).map(Cow::Borrowed);
    let in_cookie = request.cookie().and_then(cookie_of).map(percent_decode);
    Presented([in_query, bearer, in_cookie])
}

impl Presented<'_> {
    /// The name of the first token set that was shown; None when none was.
    pub fn authorise<'t>(&self, tokens: &'t Tokens) -> Option<&'t str> {
        self.iter().find_map(|shown| tokens.matches(shown))
    }

    /// Only what is safe from other pages: a bearer header, which none of them can send for you.
    pub fn authorise_bearer<'t>(&self, tokens: &'t Tokens) -> Option<&'t str> {
        self.bearer().and_then(|shown| tokens.matches(shown))
    }

    /// What stands behind `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.0[1].as_deref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(Cow::as_ref).filter(|shown| shown.len() <= TOKEN_BYTES_MAX)
    }

    /// Nothing was shown.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented(*** x {})", self.iter().count())
    }
}

/// A query as it may stand in a log.
pub fn redact_query(query: &str) -> String {
    let redact = |part: &str| match part.split_once('=') {
        Some((name, _)) if percent_decode(name).eq_ignore_ascii_case(PARAMETER) => {
            format!("{name}=***")
        }
        Some(_) | None => part.to_owned(),
    };
    query.split('&').map(redact).collect::<Vec<String>>().join("&")
}

fn bearer_of(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn cookie_of(cookies: &str) -> Option<&str> {
    let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|pair| pair.0 == COOKIE).map(|pair| pair.1.trim_matches('"'))
}
