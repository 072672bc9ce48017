//! What was probably meant.

/// `: did you mean "key"? Allowed: name, key`, the question only where something is near.
pub(super) fn instead<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let allowed: Vec<&str> = allowed.into_iter().collect();
    let near = allowed.iter().map(|known| (distance(word, known), known)).min_by_key(|(far, _)| *far);
    let all = allowed.join(", ");
    match near {
        Some((far, known)) if far <= (known.len().max(word.len()) / 3).max(1) => {
            format!(": did you mean {known:?}? Allowed: {all}")
        }
        _ => format!("; allowed: {all}"),
    }
}

/// How many characters are to be changed, added, left out or exchanged with their neighbour.
fn distance(word: &str, known: &str) -> usize {
    const LONGEST: usize = 64;
    let (word, known) = (word.to_lowercase(), known.to_lowercase());
    let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), known.chars().collect());
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let is_exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if is_exchanged { least.min(rows[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_from_another_word() {
        let allowed = ["name", "quota", "key", "when"];
        for (word, near) in [("quta", "quota"), ("qouta", "quota"), ("Key", "key"), ("names", "name"), ("wehn", "when")]
        {
            let says = format!(": did you mean {near:?}? Allowed: name, quota, key, when");
            assert_eq!(instead(word, allowed), says, "{word}");
        }
        for word in ["", "limit", "burst", &"x".repeat(1000)] {
            assert_eq!(instead(word, allowed), "; allowed: name, quota, key, when", "{word}");
        }
    }
}
