//! One order of several: reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009). It asks for ranks alone, so
//! scores of different kinds need not be made comparable.

use std::collections::{BTreeMap, BTreeSet};

/// Holds the first ranks together (`k`, the value of the paper).
pub const RANK_CONSTANT: f64 = 60.0;

/// Places of one search, best first, and how much they count against others.
#[derive(Clone, Debug)]
pub struct Ranking<'a, Id> {
    /// What was found; what comes twice counts where it comes first.
    pub places: &'a [Id],
    /// Not negative; 1 where nothing speaks for another. OpenAI's `embedding_weight` and `text_weight`.
    pub weight: f64,
}

/// All that any ranking has, best first, with the sum of `weight ÷ (60 + rank)`. Equal sums stand in the order of their
/// ids, so that the same question has the same answer.
#[must_use]
pub fn reciprocal_ranks<Id: Ord + Clone>(rankings: &[Ranking<'_, Id>]) -> Vec<(Id, f64)> {
    let mut sums: BTreeMap<Id, f64> = BTreeMap::new();
    for ranking in rankings {
        let weight = if ranking.weight.is_finite() {
            ranking.weight.max(0.0)
        } else {
            0.0
        };
        let mut seen = BTreeSet::new();
        let first = ranking.places.iter().filter(|id| seen.insert(*id));
        for (id, rank) in first.zip(1_u32..) {
            *sums.entry(id.clone()).or_default() += weight / (RANK_CONSTANT + f64::from(rank));
        }
    }
    let mut order: Vec<(Id, f64)> = sums.into_iter().collect();
    // Stable, and the map is in the order of the ids.
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order
}

#[cfg(test)]
mod tests {
    use super::{Ranking, reciprocal_ranks};

    fn order(rankings: &[(&[char], f64)]) -> String {
        let rankings: Vec<Ranking<'_, char>> = rankings
            .iter()
            .map(|(places, weight)| Ranking {
                places,
                weight: *weight,
            })
            .collect();
        let order = reciprocal_ranks(&rankings);
        assert!(order.is_sorted_by(|a, b| a.1 >= b.1));
        order.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn what_both_have_comes_before_what_one_has() {
        type Row<'a> = (&'a [(&'a [char], f64)], &'a str);
        let table: &[Row<'_>] = &[
            (&[], ""),
            (&[(&['b', 'a'], 1.0)], "ba"),
            (&[(&['a', 'c'], 1.0), (&['b', 'c'], 1.0)], "cab"),
            // Equal sums: by id.
            (&[(&['b'], 1.0), (&['a'], 1.0)], "ab"),
            (&[(&['b', 'a'], 1.0), (&['a', 'b'], 1.0)], "ab"),
            // Weights.
            (&[(&['b', 'a'], 2.0), (&['a', 'b'], 1.0)], "ba"),
            (&[(&['a'], 0.0), (&['b'], 1.0)], "ba"),
            (&[(&['a'], f64::NAN), (&['b'], 1.0)], "ba"),
            (&[(&['a'], -5.0), (&['b'], 1.0)], "ba"),
            // Twice in one list is once.
            (&[(&['a', 'a', 'a', 'b'], 1.0), (&['b'], 1.0)], "ba"),
        ];
        for (rankings, expected) in table {
            assert_eq!(order(rankings), *expected, "{rankings:?}");
        }
    }

    #[test]
    fn the_sum_is_the_one_of_the_paper() {
        let both = [
            Ranking {
                places: &['a', 'b'],
                weight: 1.0,
            },
            Ranking {
                places: &['b'],
                weight: 0.5,
            },
        ];
        let order = reciprocal_ranks(&both);
        assert!((order[0].1 - (1.0 / 62.0 + 0.5 / 61.0)).abs() < 1e-12);
        assert!((order[1].1 - 1.0 / 61.0).abs() < 1e-12);
    }
}
