package job_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
)

func TestInspectData(t *testing.T) {
	found, err := job.Inspect(t.Context(), people(t, 7))
	require.NoError(t, err)
	require.Nil(t, found.Model)
	assert.EqualValues(t, 7, found.Data.Rows)
	assert.Equal(t, []job.ColumnInfo{{"id", "int64", true}, {"name", "string", true}, {"score", "float64", true}}, found.Data.Columns)
	_, err = job.Inspect(t.Context(), "/nowhere")
	assert.ErrorContains(t, err, "no such file or folder")
}

func TestInspectModel(t *testing.T) {
	found, err := job.Inspect(t.Context(), testkit.MiniLM(t))
	require.NoError(t, err)
	require.Nil(t, found.Data)
	m := found.Model
	assert.Equal(t, "embed", m.Task)
	assert.Equal(t, 384, m.Dim)
	assert.Equal(t, 256, m.MaxTokens)
	assert.Equal(t, "mean", m.Pooling)
	assert.True(t, m.Normalize)
	require.Len(t, m.Inputs, 3)
	assert.Equal(t, job.TensorInfo{Name: "input_ids", Type: "int64", Shape: []string{"batch", "seq"}}, m.Inputs[0])
	require.Len(t, m.Outputs, 1)
	assert.Equal(t, "384", m.Outputs[0].Shape[2])
	assert.Empty(t, m.Cannot)
}
