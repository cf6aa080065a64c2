//! t-SNE (van der Maaten and Hinton 2008): a plane on which near rows stay near.
//!
//! Attraction is between the nearest neighbours only, as in Barnes-Hut t-SNE (2014); repulsion is exact, between all pairs, which some thousand rows
//! can afford. It begins with the first two principal components (Kobak and Berens 2019), so that nothing is left to chance, and each row's
//! forces are summed in one order, so that the number of threads changes nothing.

use std::num::NonZero;
use std::thread;

use crate::lanes::squared_distance;

/// About how many neighbours a row has.
const PERPLEXITY: f64 = 30.0;
/// Of the perplexity, that are looked at: farther ones have no weight.
const NEIGHBOURS: usize = 3;
/// Steps of gradient descent.
pub const STEPS: usize = 750;
/// In the first of them neighbours attract each other so much more, so that clusters find together.
const EXAGGERATED_STEPS: usize = 250;
const EXAGGERATION: f32 = 12.0;
/// The standard deviation of the first component at the start.
const START: f64 = 1e-4;
const LANES: usize = 16;

/// The neighbours of every row, and how much they attract it.
type Attractions = Vec<Vec<(u32, f32)>>;

/// The plane [n, 2] of `rows` [n, m], each of the same length; `step` is told of every step.
pub fn tsne(rows: &[&[f32]], mut step: impl FnMut()) -> Vec<[f32; 2]> {
    let n = rows.len();
    // Fewer than a perplexity can be of have nothing to be arranged by.
    if n < 5 {
        return rows.iter().map(|row| plane_of(row)).collect();
    }
    let attractions = attractions(rows);
    let mut at = start(rows);
    let mut speed = [vec![0.0f32; n], vec![0.0f32; n]];
    let mut gains = [vec![1.0f32; n], vec![1.0f32; n]];
    let rate = (n as f32 / EXAGGERATION / 4.0).max(50.0);
    for i in 0..STEPS {
        let early = i < EXAGGERATED_STEPS;
        let (exaggeration, momentum) = if early {
            (EXAGGERATION, 0.5)
        } else {
            (1.0, 0.8)
        };
        let gradient = gradient(&at, &attractions, exaggeration);
        for axis in 0..2 {
            for row in 0..n {
                let (pull, speed) = (gradient[row][axis], &mut speed[axis][row]);
                let gain = &mut gains[axis][row];
                // Jacobs' rule (1988): faster while the direction stays.
                *gain = match (pull > 0.0) == (*speed > 0.0) {
                    true => (*gain * 0.8).max(0.01),
                    false => *gain + 0.2,
                };
                *speed = momentum * *speed - rate * *gain * pull;
                at[axis][row] += *speed;
            }
        }
        step();
    }
    let [x, y] = at;
    x.into_iter().zip(y).map(|(x, y)| [x, y]).collect()
}

fn plane_of(row: &[f32]) -> [f32; 2] {
    [0, 1].map(|axis| row.get(axis).copied().unwrap_or(0.0))
}

/// The first two components, small.
fn start(rows: &[&[f32]]) -> [Vec<f32>; 2] {
    let squares = rows.iter().map(|row| f64::from(plane_of(row)[0]).powi(2));
    let deviation = (squares.sum::<f64>() / rows.len() as f64).sqrt();
    let scale = if deviation > 0.0 {
        (START / deviation) as f32
    } else {
        0.0
    };
    [0, 1].map(|axis| rows.iter().map(|row| plane_of(row)[axis] * scale).collect())
}

/// What `of` makes of each row, on as many threads as there are cores.
fn each<T: Send>(n: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = n.div_ceil(threads).max(1);
    thread::scope(|scope| {
        let of = &of;
        let shares = (0..n).step_by(share);
        let parts = shares
            .map(|from| scope.spawn(move || (from..n.min(from + share)).map(of).collect()))
            .collect::<Vec<_>>();
        let joined = parts.into_iter().flat_map(|part| {
            let part: Vec<T> = part
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            part
        });
        joined.collect()
    })
}

/// The symmetric probabilities that two rows are neighbours, all of which sum to 1.
fn attractions(rows: &[&[f32]]) -> Attractions {
    let n = rows.len();
    let perplexity = PERPLEXITY.min((n - 1) as f64 / NEIGHBOURS as f64);
    let count = ((NEIGHBOURS as f64 * perplexity) as usize).min(n - 1);
    let conditional = each(n, |i| {
        let others = (0..n).filter(|j| *j != i);
        let mut near: Vec<(f64, u32)> = others
            .map(|j| (squared_distance(rows[i], rows[j]), j as u32))
            .collect();
        near.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(count);
        near.sort_unstable_by_key(|(_, j)| *j);
        weights(&near, perplexity)
    });
    let mut symmetric: Attractions = vec![Vec::new(); n];
    for (i, near) in conditional.iter().enumerate() {
        for (j, p) in near {
            let half = (p / (2 * n) as f64) as f32;
            symmetric[i].push((*j, half));
            symmetric[*j as usize].push((i as u32, half));
        }
    }
    symmetric
}

/// The probability of each of a row's neighbours: of a normal distribution about it that is as wide as the perplexity asks for.
fn weights(near: &[(f64, u32)], perplexity: f64) -> Vec<(u32, f64)> {
    const HALVINGS: usize = 64;
    let least = near.iter().map(|(d, _)| *d).fold(f64::INFINITY, f64::min);
    let (mut precision, mut low, mut high) = (1.0f64, 0.0f64, f64::INFINITY);
    let mut weights = vec![0.0; near.len()];
    for _ in 0..HALVINGS {
        for (weight, (distance, _)) in weights.iter_mut().zip(near) {
            *weight = (-precision * (distance - least)).exp();
        }
        let total: f64 = weights.iter().sum();
        let mean: f64 = weights
            .iter()
            .zip(near)
            .map(|(w, (d, _))| w * (d - least))
            .sum();
        let entropy = total.ln() + precision * mean / total;
        weights.iter_mut().for_each(|weight| *weight /= total);
        let excess = entropy - perplexity.ln();
        if excess.abs() < 1e-5 {
            break;
        }
        if excess > 0.0 {
            low = precision;
            precision = if high.is_finite() {
                (low + high) / 2.0
            } else {
                2.0 * precision
            };
        } else {
            high = precision;
            precision = (low + high) / 2.0;
        }
    }
    near.iter()
        .zip(weights)
        .map(|((_, j), weight)| (*j, weight))
        .collect()
}

/// Of the divergence between neighbourhoods above and on the plane, by the place of each row.
fn gradient(at: &[Vec<f32>; 2], attractions: &Attractions, exaggeration: f32) -> Vec<[f32; 2]> {
    let [x, y] = at;
    let forces = each(x.len(), |i| {
        let mut pull = [0.0f32; 2];
        for (j, p) in &attractions[i] {
            let (dx, dy) = (x[i] - x[*j as usize], y[i] - y[*j as usize]);
            let near = p / (1.0 + dx * dx + dy * dy);
            pull[0] += near * dx;
            pull[1] += near * dy;
        }
        (pull, repulsion(x, y, i))
    });
    let total: f64 = forces.iter().map(|(_, (sum, _))| f64::from(*sum)).sum();
    let scale = (1.0 / total) as f32;
    let force = |(pull, (_, push)): &([f32; 2], (f32, [f32; 2]))| {
        [0, 1].map(|axis| 4.0 * (exaggeration * pull[axis] - scale * push[axis]))
    };
    forces.iter().map(force).collect()
}

/// Σ q and Σ q²(y_i - y_j) over the other rows, with q = 1/(1 + |y_i - y_j|²).
fn repulsion(x: &[f32], y: &[f32], i: usize) -> (f32, [f32; 2]) {
    let (x_i, y_i) = (x[i], y[i]);
    let [mut sums, mut along_x, mut along_y] = [[0.0f32; LANES]; 3];
    let mut add = |lane: usize, x: f32, y: f32| {
        let (dx, dy) = (x_i - x, y_i - y);
        let q = 1.0 / (1.0 + dx * dx + dy * dy);
        sums[lane] += q;
        along_x[lane] += q * q * dx;
        along_y[lane] += q * q * dy;
    };
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for lane in 0..LANES {
            add(lane, x[lane], y[lane]);
        }
    }
    for (lane, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        add(lane, *x, *y);
    }
    // The row itself is among them, with 1 and no direction.
    let sum = sums.iter().sum::<f32>() - 1.0;
    (sum, [along_x.iter().sum(), along_y.iter().sum()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows about three far places in ten dimensions, whose first two components tell only two of them apart.
    fn places() -> Vec<Vec<f32>> {
        let row = |i: usize| {
            let noise = |j: usize| ((i * 31 + j * 17) as f32 * 0.7).sin();
            let mut row: Vec<f32> = (0..10).map(noise).collect();
            row[[0, 5, 9][i % 3]] += 30.0;
            row
        };
        (0..150).map(row).collect()
    }

    #[test]
    fn near_rows_stay_near_and_far_ones_far() {
        let rows = places();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut steps = 0;
        let found = tsne(&rows, || steps += 1);
        assert_eq!((found.len(), steps), (150, STEPS));
        let far = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        for i in 0..150 {
            let others = (0..150).filter(|j| *j != i);
            let nearest =
                others.min_by(|a, b| far(found[i], found[*a]).total_cmp(&far(found[i], found[*b])));
            assert_eq!(nearest.unwrap() % 3, i % 3, "row {i}");
        }
        let again = tsne(&rows, || {});
        assert_eq!(found, again);
    }

    #[test]
    fn few_rows_are_where_their_components_are() {
        let rows = [&[1.0, 2.0, 3.0][..], &[4.0, 5.0, 6.0]];
        assert_eq!(tsne(&rows, || {}), [[1.0, 2.0], [4.0, 5.0]]);
        assert_eq!(tsne(&[], || {}), [[0.0; 2]; 0]);
        // More rows than that, all alike: nothing to arrange, and nothing breaks.
        let alike = [&[1.0f32, 1.0][..]; 9];
        assert!(tsne(&alike, || {}).iter().flatten().all(|x| x.is_finite()));
    }

    #[test]
    fn weights_have_the_perplexity_that_is_asked_for() {
        let near: Vec<(f64, u32)> = (0..90).map(|j| (f64::from(j) * 0.3, j)).collect();
        let weights = weights(&near, 30.0);
        let entropy: f64 = weights.iter().map(|(_, p)| -p * p.ln()).sum();
        assert!((entropy.exp() - 30.0).abs() < 0.01);
        assert!((weights.iter().map(|(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
