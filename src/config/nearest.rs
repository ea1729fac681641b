//! Which valid name a wrong one was meant to be.

/// The candidate with the smallest edit distance (a swap of neighbours counts one), the first of
/// equals; upper and lower case are the same. `None` only when there are no candidates.
pub fn nearest<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<(&'a str, usize)> {
    // A name that long is near to nothing; the cut keeps the table small.
    let wrong: String = wrong.chars().take(64).collect::<String>().to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (candidate, distance(&wrong, &candidate.to_ascii_lowercase())))
        .min_by_key(|(_, distance)| *distance)
}

/// Optimal string alignment distance.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut here = vec![row + 1; to.len() + 1];
        for (column, b) in to.iter().enumerate() {
            let changed = above[column] + usize::from(a != b);
            let mut best = changed.min(above[column + 1] + 1).min(here[column] + 1);
            if row > 0 && column > 0 && *a == to[column - 1] && from[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            here[column + 1] = best;
        }
        before = std::mem::replace(&mut above, here);
    }
    above[to.len()]
}
