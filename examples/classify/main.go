// Command classify labels the messages of examples/messages.txt without any training, as
// `make quickstart` does: a model in a pool of two actors, rows in batches of 64.
//
//	go run ./examples/classify
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/writers"
)

func main() {
	if err := classify(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func classify(ctx context.Context) error {
	model, err := infer.Open(ctx, infer.Config{Path: "build/models/all-MiniLM-L6-v2"})
	if err != nil {
		return err
	}
	defer model.Close()
	task, err := model.ClassifyZeroShot(infer.ZeroShotConfig{
		Column: "text", BatchSize: 64, Actors: 2, Template: "This message is about {}.", Temperature: 1.0 / 30,
		Labels: []infer.Label{
			{Name: "order", Description: "an order, a product in stock, a parcel, the courier or the delivery"},
			{Name: "billing", Description: "a bill, an invoice, a price or a payment"},
			{Name: "refund", Description: "sending back unwanted goods for a refund or an exchange"},
			{Name: "fault", Description: "a breakdown, a leak, an error, or a device that does not work"},
			{Name: "account", Description: "an online account, a profile, signing in or a password"},
			{Name: "appointment", Description: "an appointment, a booking or a free time slot"},
			{Name: "feedback", Description: "gratitude for excellent staff or anger at rude staff"},
			{Name: "job", Description: "a job application, a vacancy, a CV, an interview or experience at work"},
			{Name: "spam", Description: "a scam, a prize, easy money or a sales offer"},
			{Name: "social", Description: "friends, family, neighbours, a party, dinner or fun"},
		},
	})
	if err != nil {
		return err
	}
	sink, err := writers.Files(writers.Config{Path: "build/classified", Mode: writers.Overwrite})
	if err != nil {
		return err
	}
	messages := readers.Text(readers.TextConfig{Files: readers.Paths("examples/messages.txt")})
	stats, err := pipeline.Read(messages).Run(task, pipeline.StageConfig{}).Write(ctx, sink, pipeline.Config{})
	if err != nil {
		return err
	}
	fmt.Printf("%d messages in %s: see build/classified\n", stats.Rows, stats.Elapsed)
	return nil
}
