//! Which files follow each other in one partition: those of a lane don't overlap in time, and there
//! are as many lanes as files overlap.

use super::error::SourceError;
use super::input_file::InputFile;
use super::records::PartitionId;

/// Lanes that are read side by side at most: each has a file open.
pub const MOST: usize = 256;

/// A file of a lane.
#[derive(Debug, Clone)]
pub struct LaneFile {
    /// The file.
    pub file: InputFile,
    /// Offset of its first line, where it is known before the files before it are read.
    pub start: Option<i64>,
}

/// Files that are one partition, in their order.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The partition.
    pub partition: PartitionId,
    /// Its files; those that were read to their end may be left out.
    pub files: Vec<LaneFile>,
    /// Nothing is left to read.
    pub finished: bool,
}

/// Where the events of a file lie in time. A file without any fits everywhere; of one whose end is
/// not known nothing can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// When they begin.
    pub first: Option<i64>,
    /// When they end.
    pub last: Option<i64>,
    /// A stream: nothing is known, and it has a lane of its own.
    pub stream: bool,
}

/// Gives each file, in the order of their beginnings, the first lane that is over by then. `ends`
/// is when each lane is over and grows by the lanes that are added; the number of each file's lane
/// is returned.
///
/// # Errors
/// When more than [`MOST`] files overlap.
pub fn assign(ends: &mut Vec<i64>, files: &[Stretch]) -> Result<Vec<usize>, SourceError> {
    let mut lanes = Vec::with_capacity(files.len());
    for file in files {
        let end = match file {
            Stretch { stream: true, .. } => i64::MAX,
            Stretch { first: None, .. } => i64::MIN,
            Stretch { last, .. } => last.unwrap_or(i64::MAX),
        };
        let free = |e: &i64| !file.stream && *e != i64::MAX && file.first.is_none_or(|first| *e <= first);
        let lane = match ends.iter().position(free) {
            Some(lane) => lane,
            None => {
                ends.push(i64::MIN);
                ends.len() - 1
            }
        };
        ends[lane] = ends[lane].max(end);
        lanes.push(lane);
    }
    if ends.len() > MOST {
        return Err(SourceError::TooManyLanes { overlap: ends.len(), most: MOST });
    }
    Ok(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(first: i64, last: i64) -> Stretch {
        Stretch { first: Some(first), last: Some(last), stream: false }
    }

    #[test]
    fn files_that_follow_each_other_share_a_lane() {
        let mut ends = Vec::new();
        let hours: Vec<Stretch> = (0..2_000).map(|h| file(h, h + 1)).collect();
        assert!(assign(&mut ends, &hours).unwrap().iter().all(|l| *l == 0));
        assert_eq!(ends, [2_000]);
    }

    #[test]
    fn there_are_as_many_lanes_as_files_overlap() {
        let mut ends = Vec::new();
        // Three hosts with a file a day, and one file over all days.
        let mut files = vec![file(0, 400)];
        files.extend((0..4).flat_map(|d| (0..3).map(move |h| file(100 * d + h, 100 * d + 90 + h))));
        let lanes = assign(&mut ends, &files).unwrap();
        assert_eq!(lanes, [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(assign(&mut ends, &[file(392, 500), file(400, 500)]).unwrap(), [1, 0], "more may follow");
    }

    #[test]
    fn what_has_no_times_fits_everywhere_and_a_stream_nowhere() {
        let mut ends = Vec::new();
        let (none, stream) = (
            Stretch { first: None, last: None, stream: false },
            Stretch { first: None, last: None, stream: true },
        );
        let open = Stretch { first: Some(5), last: None, stream: false };
        assert_eq!(assign(&mut ends, &[none, none, file(0, 5), stream, open]).unwrap(), [0, 0, 0, 1, 0]);
        assert_eq!(assign(&mut ends, &[none, file(9, 10)]).unwrap(), [2, 2], "both lanes may go on for ever");
    }

    #[test]
    fn too_many_at_once_are_counted() {
        let files: Vec<Stretch> = (0..300).map(|n| file(n, 1_000)).collect();
        let error = assign(&mut Vec::new(), &files).unwrap_err().to_string();
        assert!(error.starts_with("300 of the input files overlap"), "{error}");
    }
}
