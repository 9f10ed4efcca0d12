//! Continuing after a restart: rows that were merged before it are merged again, with the same
//! result.

use super::*;

impl Evaluator {
    /// Restores rows that were merged before a restart; [`Evaluator::merge_restored`] merges them
    /// again.
    ///
    /// # Errors
    /// When their sketches were made by different definitions.
    pub fn restore(&mut self, rows: Vec<Pane>, floor: Option<i64>) -> Result<(), EvaluationError> {
        let Some(at) = self.at else { return self.offer(rows, floor) };
        let from = |row: &Pane| row.close_at.max(floor.unwrap_or(i64::MIN));
        let (waiting, taken): (Vec<Pane>, Vec<Pane>) = rows.into_iter().partition(|row| from(row) > at);
        self.pending.add(waiting.into_iter().map(|row| (from(&row), row)))?;
        Ok(self.restored.add(taken.into_iter().map(|row| (from(&row), row)))?)
    }

    /// Merges the restored rows tick by tick, as before: what a tick folds depends on its rows.
    ///
    /// # Errors
    /// When sketches were made by different definitions.
    pub fn merge_restored(&mut self) -> Result<(), EvaluationError> {
        let Some(at) = self.at else { return Ok(()) };
        let hour = floor(at, HOUR);
        let mut again = std::mem::replace(&mut self.restored, PendingPanes::new(self.tick));
        while let Some(tick) = again.first_tick() {
            self.merge_due(again.drain_due(tick)?, at, tick > hour)?;
        }
        self.folded_values = 0;
        Ok(())
    }

    /// Restores hours that were written before a restart.
    ///
    /// # Errors
    /// When their sketches were made by different definitions.
    pub fn restore_hours(&mut self, rows: Vec<Pane>) -> Result<(), EvaluationError> {
        let Some(at) = self.at else { return Ok(()) };
        for row in rows {
            if row.close_at <= at {
                self.add_hour(row.start, row.segment, row.contents, row.close_at > floor(at, DAY));
            }
        }
        Ok(())
    }

    /// Rebuilds the baselines after a restart.
    ///
    /// # Errors
    /// When the days can't be read.
    pub fn restore_baselines(&mut self) -> Result<(), EvaluationError> {
        let Some(at) = self.at else { return Ok(()) };
        let longest = self.settings.config.windows.rolling.iter().map(|r| r.length()).max().unwrap_or(0);
        let mut day = floor(at - longest, DAY);
        while day <= at {
            self.build_baselines(day)?;
            day += DAY;
        }
        Ok(())
    }
}
