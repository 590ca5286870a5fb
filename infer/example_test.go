package infer_test

import (
	"context"
	"fmt"
	"log"

	"github.com/penstock-data/penstock/infer"
)

// A model's files say what it is; its weights are loaded when it is used.
func ExampleModel_Inspect() {
	model, err := infer.Open(context.Background(), infer.Config{Path: "testdata/models/plain"})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	info := model.Inspect()
	fmt.Printf("%s: %d numbers from up to %d tokens, pooling %s\n", info.Task, info.Dim, info.MaxTokens, info.Pooling)
	for _, in := range info.Inputs {
		fmt.Println(in.Name, in.Type, in.Shape)
	}
	// Output:
	// embed: 8 numbers from up to 12 tokens, pooling mean
	// input_ids int64 [batch tokens]
	// attention_mask int64 [batch tokens]
	// token_type_ids int64 [batch tokens]
}
