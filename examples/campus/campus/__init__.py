"""Campus: a small learning platform. Courses, learners, enrolments, progress."""
